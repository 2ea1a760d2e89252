package account_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/secret"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func identityKey(n byte) [32]byte {
	return sha256.Sum256([]byte{n})
}

func seedKey(n byte) account.PrivateKey {
	return account.NewPrivateKey(secret.NewKey(sha256.Sum256([]byte{'s', n})))
}

func twoDevices() account.DeviceList {
	return account.DeviceList{
		Version: 7,
		Time:    epoch,
		Devices: []account.Device{
			{Number: 1, IdentityKey: identityKey(1), Added: epoch.Add(-time.Hour)},
			{Number: 3, IdentityKey: identityKey(3), Added: epoch},
		},
	}
}

func sign(t *testing.T, k account.PrivateKey, list account.DeviceList) []byte {
	t.Helper()
	b, err := k.SignDeviceList(list)
	if err != nil {
		t.Fatalf("SignDeviceList: %v", err)
	}
	return b
}

func TestUserIDIsTheHashOfTheAccountKey(t *testing.T) {
	key := account.PublicKey{1, 2, 3}
	sum := sha256.Sum256(append([]byte("ChatE2E user ID v1"), key[:]...))
	want := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
	got := key.UserID().String()
	if got != want {
		t.Fatalf("user ID %q, want %q", got, want)
	}
	if len(got) != 32 {
		t.Fatalf("user ID has %d characters, want 32", len(got))
	}
	groups := key.UserID().Groups()
	if len(groups) != 39 || strings.ReplaceAll(groups, " ", "") != want {
		t.Fatalf("groups %q of %q", groups, want)
	}
}

func TestParseUserID(t *testing.T) {
	id := account.PublicKey{9}.UserID()
	for _, s := range []string{
		id.String(), id.Groups(), strings.ToUpper(id.Groups()),
		strings.ReplaceAll(id.Groups(), " ", "-"), "  " + id.String() + "\t",
	} {
		got, err := account.ParseUserID(s)
		if err != nil || got != id {
			t.Errorf("ParseUserID(%q) = %v, %v; want %v", s, got, err, id)
		}
	}
	for _, s := range []string{
		"", "abc", id.String() + "a", id.String()[1:], strings.Replace(id.String(), id.String()[:1], "1", 1),
		id.String()[:31] + "\n", id.String() + "\n", id.String()[:31] + "é", strings.Repeat(" ", 1000),
	} {
		if got, err := account.ParseUserID(s); !errors.Is(err, account.ErrUserID) || got != (account.UserID{}) {
			t.Errorf("ParseUserID(%q) = %v, %v; want ErrUserID", s, got, err)
		}
	}
}

func TestUserIDTextIsCanonical(t *testing.T) {
	id := account.PublicKey{4}.UserID()
	b, err := json.Marshal(id)
	if err != nil || string(b) != `"`+id.String()+`"` {
		t.Fatalf("Marshal = %s, %v", b, err)
	}
	var back account.UserID
	if err := json.Unmarshal(b, &back); err != nil || back != id {
		t.Fatalf("Unmarshal = %v, %v", back, err)
	}
	if err := back.UnmarshalText([]byte(strings.ToUpper(id.String()))); err == nil {
		t.Fatal("UnmarshalText accepted an upper-case user ID")
	}
}

func TestUsernames(t *testing.T) {
	for _, s := range []string{"bob", "a_1", "___", strings.Repeat("z", 24)} {
		if got, err := account.ParseUsername(s); err != nil || got != s {
			t.Errorf("ParseUsername(%q) = %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "ab", "Bob", "b b", "bob\n", "böb", "bob-", strings.Repeat("z", 25), "b%b", "bob'--"} {
		if _, err := account.ParseUsername(s); !errors.Is(err, account.ErrUsername) {
			t.Errorf("ParseUsername(%q) = %v, want ErrUsername", s, err)
		}
	}
}

func TestLinksAndAddresses(t *testing.T) {
	id := account.PublicKey{5}.UserID()
	links := map[string]account.Link{
		"https://chat.example.org/add#" + id.String():                             {User: id, Scheme: "https", Host: "chat.example.org"},
		"https://Chat.Example.ORG/add#" + id.String():                             {User: id, Scheme: "https", Host: "chat.example.org"},
		"http://127.0.0.1:5000/add#" + id.String():                                {User: id, Scheme: "http", Host: "127.0.0.1:5000"},
		"http://[::1]:5000/add#" + id.String():                                    {User: id, Scheme: "http", Host: "[::1]:5000"},
		"https://localhost:08443/add#" + strings.ToUpper(id.String()):             {User: id, Scheme: "https", Host: "localhost:8443"},
		"https://h/add#" + strings.ReplaceAll(id.Groups(), " ", "%20"):            {User: id, Scheme: "https", Host: "h"},
		"https://[2001:0db8::1]/add#" + strings.ReplaceAll(id.Groups(), " ", "-"): {User: id, Scheme: "https", Host: "[2001:db8::1]"},
	}
	for s, want := range links {
		got, err := account.ParseLink(s)
		if err != nil || got != want {
			t.Errorf("ParseLink(%q) = %+v, %v; want %+v", s, got, err, want)
			continue
		}
		again, err := account.ParseLink(got.String())
		if err != nil || again != want {
			t.Errorf("ParseLink(%q) = %+v, %v; want %+v", got.String(), again, err, want)
		}
	}
	for _, s := range []string{
		"", "https://h/add", "https://h/add#", "https://h/add?x#" + id.String(), "https://h/add?#" + id.String(),
		"ftp://h/add#" + id.String(), "https://u@h/add#" + id.String(), "https://h/ADD#" + id.String(),
		"https:///add#" + id.String(), "https://-h/add#" + id.String(), "https://h:0/add#" + id.String(),
		"https://h:99999/add#" + id.String(), "https://h/add/#" + id.String(), "https://h/%61dd/..#" + id.String(),
		"javascript:alert(1)#" + id.String(), "https://h:/add#" + id.String(),
		"https://" + strings.Repeat("h", 600) + "/add#" + id.String(), "https://hé/add#" + id.String(),
		"https://[fe80::1%25eth0]/add#" + id.String(),
	} {
		if got, err := account.ParseLink(s); !errors.Is(err, account.ErrLink) || got != (account.Link{}) {
			t.Errorf("ParseLink(%q) = %+v, %v; want ErrLink", s, got, err)
		}
	}

	addr, err := account.ParseAddress(id.Groups() + "@Chat.Example.org:443")
	if want := (account.Address{User: id, Host: "chat.example.org:443"}); err != nil || addr != want {
		t.Fatalf("ParseAddress = %+v, %v; want %+v", addr, err, want)
	}
	if got := addr.String(); got != id.String()+"@chat.example.org:443" {
		t.Fatalf("address %q", got)
	}
	for _, s := range []string{"", "@", id.String(), id.String() + "@", "bob@h", id.String() + "@h@h", id.String() + "@h/x"} {
		if _, err := account.ParseAddress(s); !errors.Is(err, account.ErrAddress) {
			t.Errorf("ParseAddress(%q) = %v, want ErrAddress", s, err)
		}
	}
}

func TestDeviceListRoundTrip(t *testing.T) {
	key := seedKey(1)
	list := twoDevices()
	encoded := sign(t, key, list)
	parsed, err := account.ParseDeviceList(encoded)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := parsed.Verify(key.Public().UserID(), account.Seen{})
	if err != nil {
		t.Fatal(err)
	}
	list.AccountKey = key.Public()
	if diff := cmp.Diff(list, verified.List()); diff != "" {
		t.Fatalf("list differs (-want +got):\n%s", diff)
	}
	if !bytes.Equal(verified.Encoded(), encoded) || verified.UserID() != key.Public().UserID() {
		t.Fatal("encoding or user ID differs")
	}
	if want := (account.Seen{Version: 7, Hash: sha256.Sum256(encoded)}); verified.Seen() != want {
		t.Fatalf("seen = %+v, want %+v", verified.Seen(), want)
	}
	// The layout, byte by byte, without this package's help.
	want := []byte{1}
	public := key.Public()
	want = append(want, public[:]...)
	want = binary.BigEndian.AppendUint64(want, 7)
	want = binary.BigEndian.AppendUint64(want, uint64(epoch.UnixMilli()))
	want = append(want, 2)
	for i, n := range []byte{1, 3} {
		k := identityKey(n)
		want = append(append(want, n), k[:]...)
		want = binary.BigEndian.AppendUint64(want, uint64(list.Devices[i].Added.UnixMilli()))
	}
	if !bytes.Equal(encoded[:len(encoded)-64], want) {
		t.Fatal("layout differs from the documented one")
	}
	message := append([]byte("ChatE2E device list v1\x00"), want...)
	if !ed25519.Verify(public[:], message, encoded[len(want):]) {
		t.Fatal("signature does not cover label and list")
	}
}

// Each part of the list is forged in turn; every forgery has its own error.
func TestDeviceListForgeries(t *testing.T) {
	alice, mallory := seedKey(1), seedKey(2)
	user := alice.Public().UserID()
	good := sign(t, alice, twoDevices())

	verify := func(b []byte, seen account.Seen) error {
		parsed, err := account.ParseDeviceList(b)
		if err != nil {
			return err
		}
		_, err = parsed.Verify(user, seen)
		return err
	}
	if err := verify(good, account.Seen{}); err != nil {
		t.Fatal(err)
	}
	if err := verify(good, account.Seen{Version: 7, Hash: sha256.Sum256(good)}); err != nil {
		t.Fatalf("the same list again: %v", err)
	}

	if err := verify(sign(t, mallory, twoDevices()), account.Seen{}); !errors.Is(err, account.ErrOwner) {
		t.Errorf("another account's list: %v, want ErrOwner", err)
	}
	// Mallory's signature below Alice's account key.
	swapped := append([]byte(nil), good...)
	body := swapped[:len(swapped)-64]
	forged := ed25519.Sign(ed25519.NewKeyFromSeed(mallory.Seed().Bytes()), append([]byte("ChatE2E device list v1\x00"), body...))
	copy(swapped[len(body):], forged)
	if err := verify(swapped, account.Seen{}); !errors.Is(err, account.ErrSignature) {
		t.Errorf("another key's signature: %v, want ErrSignature", err)
	}
	// A signature by the right key, made for something else.
	unlabelled := append([]byte(nil), body...)
	unlabelled = append(unlabelled, ed25519.Sign(ed25519.NewKeyFromSeed(alice.Seed().Bytes()), body)...)
	if err := verify(unlabelled, account.Seen{}); !errors.Is(err, account.ErrSignature) {
		t.Errorf("signature without the label: %v, want ErrSignature", err)
	}
	if err := verify(good, account.Seen{Version: 8}); !errors.Is(err, account.ErrRollback) {
		t.Errorf("older list: %v, want ErrRollback", err)
	}
	other := twoDevices()
	other.Devices = other.Devices[:1]
	if err := verify(sign(t, alice, other), account.Seen{Version: 7, Hash: sha256.Sum256(good)}); !errors.Is(err, account.ErrFork) {
		t.Errorf("another list of the same version: %v, want ErrFork", err)
	}

	// Every single bit.
	for i := range good {
		for bit := range 8 {
			b := append([]byte(nil), good...)
			b[i] ^= 1 << bit
			err := verify(b, account.Seen{})
			if err == nil {
				t.Fatalf("byte %d bit %d flipped: accepted", i, bit)
			}
			if i >= 1 && i < 33 && !errors.Is(err, account.ErrOwner) {
				t.Errorf("account key byte %d bit %d flipped: %v, want ErrOwner", i, bit, err)
			}
			if i >= len(good)-64 && !errors.Is(err, account.ErrSignature) {
				t.Errorf("signature byte %d bit %d flipped: %v, want ErrSignature", i, bit, err)
			}
		}
	}
	for n := range good {
		if err := verify(good[:n], account.Seen{}); !errors.Is(err, account.ErrMalformed) {
			t.Errorf("cut to %d bytes: %v, want ErrMalformed", n, err)
		}
	}
	if err := verify(append(append([]byte(nil), good...), 0), account.Seen{}); !errors.Is(err, account.ErrMalformed) {
		t.Errorf("trailing byte: %v, want ErrMalformed", err)
	}
	if _, err := (account.UnverifiedDeviceList{}).Verify(account.PublicKey{}.UserID(), account.Seen{}); err == nil {
		t.Error("the zero list verified")
	}
}

func TestCheckDevice(t *testing.T) {
	key := seedKey(1)
	parsed, err := account.ParseDeviceList(sign(t, key, twoDevices()))
	if err != nil {
		t.Fatal(err)
	}
	list, err := parsed.Verify(key.Public().UserID(), account.Seen{})
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Check(3, identityKey(3)); err != nil {
		t.Errorf("a listed device: %v", err)
	}
	for _, c := range []struct {
		number account.DeviceNumber
		key    [32]byte
	}{{1, identityKey(3)}, {2, identityKey(1)}, {3, identityKey(4)}, {0, [32]byte{}}} {
		if err := list.Check(c.number, c.key); !errors.Is(err, account.ErrNotListed) {
			t.Errorf("Check(%d, …) = %v, want ErrNotListed", c.number, err)
		}
	}
	// What a caller does to the devices it was given changes nothing.
	list.List().Devices[0].IdentityKey = identityKey(9)
	if err := list.Check(1, identityKey(9)); !errors.Is(err, account.ErrNotListed) {
		t.Errorf("the list can be changed from outside: %v", err)
	}
}

func TestSignRefusesWhatCannotBeParsed(t *testing.T) {
	key := seedKey(1)
	for name, change := range map[string]func(*account.DeviceList){
		"no devices":         func(l *account.DeviceList) { l.Devices = nil },
		"version 0":          func(l *account.DeviceList) { l.Version = 0 },
		"number 0":           func(l *account.DeviceList) { l.Devices[0].Number = 0 },
		"number 128":         func(l *account.DeviceList) { l.Devices[1].Number = 128 },
		"numbers descending": func(l *account.DeviceList) { l.Devices[0].Number = 4 },
		"number twice":       func(l *account.DeviceList) { l.Devices[0].Number = 3 },
		"key twice":          func(l *account.DeviceList) { l.Devices[0].IdentityKey = identityKey(3) },
		"zero key":           func(l *account.DeviceList) { l.Devices[0].IdentityKey = [32]byte{} },
		"before 1970":        func(l *account.DeviceList) { l.Time = time.Time{} },
		"after 9999":         func(l *account.DeviceList) { l.Devices[0].Added = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"too many": func(l *account.DeviceList) {
			l.Devices = nil
			for i := range 128 {
				l.Devices = append(l.Devices, account.Device{Number: account.DeviceNumber(i + 1), IdentityKey: identityKey(byte(i)), Added: epoch})
			}
		},
	} {
		list := twoDevices()
		change(&list)
		if b, err := key.SignDeviceList(list); !errors.Is(err, account.ErrMalformed) || b != nil {
			t.Errorf("%s: %d bytes, %v; want ErrMalformed", name, len(b), err)
		}
	}
	list := account.DeviceList{Version: 1, Time: epoch}
	for i := range account.MaxDevices {
		list.Devices = append(list.Devices, account.Device{Number: account.DeviceNumber(i + 1), IdentityKey: identityKey(byte(i)), Added: epoch})
	}
	if b := sign(t, key, list); len(b) != account.MaxDeviceListSize {
		t.Errorf("the largest list has %d bytes, MaxDeviceListSize is %d", len(b), account.MaxDeviceListSize)
	}
}

func TestPrivateKeyDoesNotPrint(t *testing.T) {
	key := account.GenerateKey()
	for _, s := range []string{fmt.Sprintf("%v %+v %#v %x", key, key, key, key), fmt.Sprint(struct{ k account.PrivateKey }{key})} {
		if strings.Contains(s, fmt.Sprintf("%x", key.Seed().Bytes())) || strings.Contains(s, fmt.Sprint(key.Seed().Bytes())) {
			t.Fatal("the private key was printed")
		}
	}
	if key.Public() == account.GenerateKey().Public() {
		t.Fatal("two generated keys are equal")
	}
	key.Wipe()
	if !bytes.Equal(key.Seed().Bytes(), make([]byte, 32)) {
		t.Fatal("the seed was not wiped")
	}
}

func FuzzParseDeviceList(f *testing.F) {
	key := seedKey(1)
	good, err := key.SignDeviceList(twoDevices())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := account.ParseDeviceList(b)
		if err != nil {
			if !errors.Is(err, account.ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		verified, err := parsed.Verify(parsed.UserID(), account.Seen{})
		if err != nil {
			if verified != nil {
				t.Fatal("a list came with an error")
			}
			return
		}
		if !bytes.Equal(verified.Encoded(), b) {
			t.Fatal("decoding and encoding changed the bytes")
		}
		if verified.UserID() == key.Public().UserID() {
			again, err := key.SignDeviceList(verified.List())
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("two encodings of one list (%v)", err)
			}
		}
	})
}

func FuzzParseLink(f *testing.F) {
	f.Add("https://chat.example.org/add#" + account.PublicKey{}.UserID().String())
	f.Add("http://[::1]:5000/add#x")
	f.Fuzz(func(t *testing.T, s string) {
		link, err := account.ParseLink(s)
		if err != nil {
			return
		}
		again, err := account.ParseLink(link.String())
		if err != nil || again != link {
			t.Fatalf("%q: %+v became %+v, %v", s, link, again, err)
		}
	})
}
