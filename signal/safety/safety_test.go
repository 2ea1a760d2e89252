package safety_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/safety"
)

func number(t *testing.T, our, their safety.Party, cfg safety.Config) *safety.Number {
	t.Helper()
	n, err := safety.New(our, their, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestVectors checks numbers and scannable forms against the official library.
func TestVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Display    string          `json:"display"`
			Iterations int             `json:"iterations"`
			LocalID    string          `json:"local_id"`
			LocalKey   testvectors.Hex `json:"local_key"`
			RemoteID   string          `json:"remote_id"`
			RemoteKey  testvectors.Hex `json:"remote_key"`
			Scannable  testvectors.Hex `json:"scannable"`
			Version    uint32          `json:"version"`
		} `json:"cases"`
	}
	testvectors.Official(t, "fingerprint.json", &file)
	if len(file.Cases) == 0 {
		t.Fatal("the file has no cases")
	}
	for i, c := range file.Cases {
		local := safety.Party{ID: []byte(c.LocalID), Key: c.LocalKey}
		remote := safety.Party{ID: []byte(c.RemoteID), Key: c.RemoteKey}
		cfg := safety.Config{Iterations: c.Iterations, Version: c.Version}
		n := number(t, local, remote, cfg)
		if got := n.String(); got != c.Display {
			t.Errorf("case %d: number %s, want %s", i, got, c.Display)
		}
		if got := n.Scannable(); !bytes.Equal(got, c.Scannable) {
			t.Errorf("case %d: scannable %x, want %x", i, got, c.Scannable)
		}
		theirs := number(t, remote, local, cfg)
		if same, err := theirs.Compare(c.Scannable); !same || err != nil {
			t.Errorf("case %d: the other side compares %v, %v", i, same, err)
		}
	}
}

// quick makes numbers fast where the cost of guessing does not matter.
var quick = safety.Config{Iterations: 2}

func TestSymmetric(t *testing.T) {
	r := testrand.New(t)
	for i := range 50 {
		// Keys of any length, also different ones, and one side's ID a prefix of
		// the other's.
		id := r.Bytes(20)
		alice := safety.Party{ID: id, Key: r.Bytes(32 + i%2)}
		bob := safety.Party{ID: id[:1+i%20], Key: r.Bytes(32)}
		cfg := quick
		if i == 0 {
			cfg = safety.Config{}
		}
		a, b := number(t, alice, bob, cfg), number(t, bob, alice, cfg)
		if a.String() != b.String() {
			t.Fatalf("Alice sees %s, Bob sees %s", a, b)
		}
		if same, err := a.Matches(b.String()); !same || err != nil {
			t.Errorf("Matches: %v, %v", same, err)
		}
		if same, err := a.Compare(b.Scannable()); !same || err != nil {
			t.Errorf("Alice scans Bob: %v, %v", same, err)
		}
		if same, err := b.Compare(a.Scannable()); !same || err != nil {
			t.Errorf("Bob scans Alice: %v, %v", same, err)
		}
		// Scanning one's own screen is not a comparison.
		if same, err := a.Compare(a.Scannable()); same || err != nil {
			t.Errorf("Alice scans herself: %v, %v", same, err)
		}
	}
}

// TestChangedKey demands that a changed key changes every displayed group with
// a probability of at least 0.8. Half of the number belongs to each side, and
// the halves are shown in order of their digits, so a change of one key can
// leave one half alone: the groups of the changed half must change.
func TestChangedKey(t *testing.T) {
	r := testrand.New(t)
	const trials = 100
	for _, side := range []string{"our key", "their key", "our ID", "their ID"} {
		var changedGroups [6]int
		for range trials {
			our := safety.Party{ID: r.Bytes(20), Key: r.Bytes(32)}
			their := safety.Party{ID: r.Bytes(20), Key: r.Bytes(32)}
			before := number(t, our, their, quick)
			other := map[string]*[]byte{
				"our key": &our.Key, "their key": &their.Key, "our ID": &our.ID, "their ID": &their.ID,
			}[side]
			*other = bytes.Clone(*other)
			(*other)[r.IntN(20)] ^= 1 << r.IntN(8) // one bit
			after := number(t, our, their, quick)

			if same, err := before.Matches(after.String()); same || err != nil {
				t.Fatalf("%s changed, and the number still matches: %v, %v", side, same, err)
			}
			if same, err := before.Compare(number(t, their, our, quick).Scannable()); same || err != nil {
				t.Fatalf("%s changed, and the scan still matches: %v, %v", side, same, err)
			}
			old, changed := changedHalf(t, before, after)
			for i := range changed {
				if old[i] != changed[i] {
					changedGroups[i]++
				}
			}
		}
		for i, count := range changedGroups {
			if count < trials*8/10 {
				t.Errorf("%s: group %d of its half changed in %d of %d trials", side, i+1, count, trials)
			}
		}
	}
}

// changedHalf returns the six groups that one number has and the other has not,
// before and after.
func changedHalf(t *testing.T, before, after *safety.Number) (old, changed []string) {
	t.Helper()
	b, a := before.Groups(), after.Groups()
	for _, half := range [][]string{b[:6], b[6:]} {
		if !slices.Equal(half, a[:6]) && !slices.Equal(half, a[6:]) {
			old = append(old, half...)
		}
	}
	for _, half := range [][]string{a[:6], a[6:]} {
		if !slices.Equal(half, b[:6]) && !slices.Equal(half, b[6:]) {
			changed = append(changed, half...)
		}
	}
	if len(old) != 6 || len(changed) != 6 {
		t.Fatalf("one party changed, and %d and %d groups belong to only one of\n%v\n%v", len(old), len(changed), b, a)
	}
	return old, changed
}

func TestGroups(t *testing.T) {
	n := number(t, safety.Party{ID: []byte("a"), Key: []byte("b")}, safety.Party{ID: []byte("c"), Key: []byte("d")}, quick)
	groups := n.Groups()
	if got, want := strings.Join(groups[:], ""), n.String(); got != want {
		t.Errorf("groups %s, number %s", got, want)
	}
	for _, group := range groups {
		if len(group) != safety.GroupLength || strings.Trim(group, "0123456789") != "" {
			t.Errorf("group %q", group)
		}
	}
	if !(strings.Join(groups[:6], "") <= strings.Join(groups[6:], "")) {
		t.Errorf("the halves are not in order: %v", groups)
	}
}

func TestNewRefuses(t *testing.T) {
	good := safety.Party{ID: []byte("id"), Key: []byte("key")}
	for name, bad := range map[string]safety.Party{
		"no ID":        {Key: good.Key},
		"no key":       {ID: good.ID},
		"a long ID":    {ID: make([]byte, safety.MaxIDSize+1), Key: good.Key},
		"a long key":   {ID: good.ID, Key: make([]byte, safety.MaxKeySize+1)},
		"the zero one": {},
	} {
		if n, err := safety.New(bad, good, quick); n != nil || !errors.Is(err, safety.ErrParty) {
			t.Errorf("our party with %s: %v, %v", name, n, err)
		}
		if n, err := safety.New(good, bad, quick); n != nil || !errors.Is(err, safety.ErrParty) {
			t.Errorf("their party with %s: %v, %v", name, n, err)
		}
	}
	for _, bad := range []safety.Config{
		{Iterations: -1},
		{Iterations: 1},
		{Iterations: 1_000_001},
		{Version: 3},
		{Version: 1 << 31},
	} {
		if n, err := safety.New(good, good, bad); n != nil || !errors.Is(err, safety.ErrConfig) {
			t.Errorf("%+v: %v, %v", bad, n, err)
		}
	}
	longest := safety.Party{ID: make([]byte, safety.MaxIDSize), Key: make([]byte, safety.MaxKeySize)}
	number(t, longest, longest, quick)
}

// TestZeroNumber: a Number that nobody computed agrees with nothing, not even
// with what it says of itself.
func TestZeroNumber(t *testing.T) {
	var zero, other safety.Number
	if same, err := zero.Compare(other.Scannable()); same || err != nil {
		t.Errorf("Compare: %v, %v", same, err)
	}
	if same, err := zero.Matches(strings.Repeat("0", 60)); same || err != nil {
		t.Errorf("Matches: %v, %v", same, err)
	}
}

func TestParseNumber(t *testing.T) {
	const want = "012345678901234567890123456789012345678901234567890123456789"
	wide := strings.Map(func(r rune) rune { return r - '0' + '０' }, want)
	var spread strings.Builder
	for _, group := range strings.SplitAfter(want, "4") {
		spread.WriteString(group + " \t\r\n\u00a0\u3000\u2009")
	}
	for name, input := range map[string]string{
		"plain": want, "full-width": wide, "half and half": wide[:90] + want[30:],
		"spaces of all kinds": "  " + spread.String(),
	} {
		got, err := safety.ParseNumber(input)
		if got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for input, wantErr := range map[string]string{
		"":                              "it has 60 digits, this text has 0",
		want[1:]:                        "it has 60 digits, this text has 59",
		want + " 1":                     "it has 60 digits, this text has 61",
		want[:59] + "x":                 "character 60 is neither a digit nor a space",
		wide[:3] + "-" + want[1:]:       "character 2 is neither a digit nor a space",
		want[:59] + "\xef\xbc":          "character 60 is neither a digit nor a space", // a cut full-width digit
		want[:59] + "٣":                 "character 60 is neither a digit nor a space", // Arabic-Indic
		want[:59] + "\x00":              "character 60 is neither a digit nor a space",
		want + strings.Repeat(" ", 965): "the text is longer than 1024 bytes",
	} {
		got, err := safety.ParseNumber(input)
		if got != "" || !errors.Is(err, safety.ErrNumber) || !strings.HasSuffix(err.Error(), wantErr) {
			t.Errorf("%q: %q, %v, want %q", input, got, err, wantErr)
		}
	}
	n := number(t, safety.Party{ID: []byte("a"), Key: []byte("b")}, safety.Party{ID: []byte("c"), Key: []byte("d")}, quick)
	if same, err := n.Matches("12345"); same || !errors.Is(err, safety.ErrNumber) {
		t.Errorf("Matches: %v, %v", same, err)
	}
	if same, err := n.Matches(want); same || err != nil {
		t.Errorf("Matches: %v, %v", same, err)
	}
}

func TestCompareRefuses(t *testing.T) {
	our := safety.Party{ID: []byte("a"), Key: []byte("b")}
	their := safety.Party{ID: []byte("c"), Key: []byte("d")}
	ours := number(t, our, their, quick)
	good := number(t, their, our, quick).Scannable()

	old := number(t, their, our, safety.Config{Iterations: 2, Version: 1}).Scannable()
	same, err := ours.Compare(old)
	if same || !errors.Is(err, safety.ErrVersion) || !strings.HasSuffix(err.Error(), "theirs is 1, ours 2") {
		t.Errorf("another version: %v, %v", same, err)
	}

	insert := func(at int, b ...byte) []byte { return slices.Insert(bytes.Clone(good), at, b...) }
	swapped := slices.Concat(good[:2], good[38:], good[2:38])
	for name, bad := range map[string][]byte{
		"nothing":                  nil,
		"a trailing byte":          insert(len(good), 0),
		"an unknown field":         insert(len(good), 0x20, 0x01),
		"an empty unknown group":   insert(len(good), 0x23, 0x24),
		"fields out of order":      swapped,
		"the version twice":        insert(0, good[:2]...),
		"local twice":              insert(2, good[2:38]...),
		"no version":               good[2:],
		"a padded version":         slices.Concat([]byte{0x08, 0x82, 0x00}, good[2:]),
		"a version above 32 bits":  slices.Concat([]byte{0x08, 0x82, 0x80, 0x80, 0x80, 0x10}, good[2:]),
		"a version without an end": {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a padded tag":             slices.Concat([]byte{0x88, 0x00}, good[1:]),
		"a padded length":          slices.Concat(good[:3], []byte{0xa2, 0x00}, good[4:]),
		"a short hash":             slices.Concat(good[:2], []byte{0x12, 0x21, 0x0a, 0x1f}, good[6:37], good[38:]),
		"a long hash":              slices.Concat(good[:2], []byte{0x12, 0x23, 0x0a, 0x21}, good[6:38], []byte{0}, good[38:]),
		"a hash shorter than said": slices.Concat(good[:5], []byte{0x1f}, good[6:]),
		"a megabyte":               make([]byte, 1<<20),
	} {
		if same, err := ours.Compare(bad); same || !errors.Is(err, safety.ErrScannable) {
			t.Errorf("%s: %v, %v", name, same, err)
		}
	}
	for cut := range good {
		if same, err := ours.Compare(good[:cut]); same || !errors.Is(err, safety.ErrScannable) {
			t.Errorf("cut to %d bytes: %v, %v", cut, same, err)
		}
	}
	// Whichever bit is wrong, the answer is never yes.
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if same, _ := ours.Compare(bad); same {
			t.Errorf("bit %d is flipped, and the comparison says yes", bit)
		}
	}
}

func TestFingerprint(t *testing.T) {
	r := testrand.New(t)
	for _, size := range []int{0, 1, 32, 33, 34, 41, 42, 43, 1569} {
		key := r.Bytes(size)
		digest := sha256.Sum256(append([]byte("ChatE2E fingerprint v1"), key...))
		upper := strings.ToUpper(hex.EncodeToString(digest[:6]))
		want := upper[:4] + "·" + upper[4:8] + "·" + upper[8:]

		f := safety.FingerprintOf(key)
		if f.String() != want {
			t.Errorf("%d bytes: %s, want %s", size, f, want)
		}
		type event struct{ Key safety.Fingerprint }
		text, err := json.Marshal(event{f})
		if err != nil || string(text) != `{"Key":"`+want+`"}` {
			t.Errorf("JSON: %s, %v", text, err)
		}
		var back event
		if err := json.Unmarshal(text, &back); err != nil || !cmp.Equal(back, event{f}) {
			t.Errorf("back from JSON: %v, %v", back, err)
		}
	}
	key := r.Bytes(33)
	if allocs := testing.AllocsPerRun(100, func() { safety.FingerprintOf(key) }); allocs != 0 {
		t.Errorf("a curve key's fingerprint takes %v allocations", allocs)
	}
}

func TestFingerprintRefuses(t *testing.T) {
	for _, text := range []string{
		"", "0123456789AB", "0123·4567·89AB·", "0123·4567·89ab", "0123·4567·89AG", "012·34567·89AB",
		"0123 4567 89AB", "0123·4567·89A", "0123··456789AB", "0123·4567·89AB\n", "··0123456789AB",
		"0123456789ABCDEF", // as long as a fingerprint with its dots
	} {
		f := safety.Fingerprint{1, 2, 3, 4, 5, 6}
		if err := f.UnmarshalText([]byte(text)); !errors.Is(err, safety.ErrFingerprint) {
			t.Errorf("%q: %v", text, err)
		}
		if f != (safety.Fingerprint{1, 2, 3, 4, 5, 6}) {
			t.Errorf("%q left %s behind", text, f)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	our := safety.Party{ID: make([]byte, 20), Key: make([]byte, 32)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := safety.New(our, our, safety.Config{}); err != nil {
			b.Fatal(err)
		}
	}
}
