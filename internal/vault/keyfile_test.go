package vault_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/vault"
)

var cheap = vault.Cost{Passes: 1, Memory: 32, Lanes: 1}

func TestKeyFile(t *testing.T) {
	file, err := vault.NewKeyFile(password, cheap)
	if err != nil {
		t.Fatal(err)
	}
	if len(file) != vault.KeyFileSize {
		t.Errorf("%d bytes, want %d", len(file), vault.KeyFileSize)
	}
	if err := vault.UnlockKeyFile(file, password, cheap); err != nil {
		t.Errorf("the right password: %v", err)
	}
	for _, wrong := range [][]byte{nil, {}, []byte("x"), password[1:], append(bytes.Clone(password), 0)} {
		if err := vault.UnlockKeyFile(file, wrong, cheap); !errors.Is(err, vault.ErrWrongPassword) {
			t.Errorf("the password %q: %v, want ErrWrongPassword", wrong, err)
		}
	}
	// é as one character and as two.
	file, err = vault.NewKeyFile([]byte("caf\u00e9"), cheap)
	if err != nil {
		t.Fatal(err)
	}
	if err := vault.UnlockKeyFile(file, []byte("cafe\u0301"), cheap); err != nil {
		t.Errorf("the same password from another keyboard: %v", err)
	}
}

// TestKeyFileEveryBit: a changed key file fails like a wrong password.
func TestKeyFileEveryBit(t *testing.T) {
	file, err := vault.NewKeyFile(password, cheap)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(file) * 8 {
		file[bit/8] ^= 1 << (bit % 8)
		if err := vault.UnlockKeyFile(file, password, cheap); !errors.Is(err, vault.ErrWrongPassword) {
			t.Errorf("bit %d flipped: %v, want ErrWrongPassword", bit, err)
		}
		if got := vault.SalvageCost(file, vault.Cost{}); got != cheap {
			t.Errorf("bit %d flipped: refusing costs %+v, want %+v", bit, got, cheap)
		}
		file[bit/8] ^= 1 << (bit % 8)
	}
	for size := range len(file) {
		if err := vault.UnlockKeyFile(file[:size], password, cheap); !errors.Is(err, vault.ErrWrongPassword) {
			t.Errorf("cut to %d bytes: %v, want ErrWrongPassword", size, err)
		}
	}
	if err := vault.UnlockKeyFile(append(file, 0), password, cheap); !errors.Is(err, vault.ErrWrongPassword) {
		t.Errorf("with a byte more: %v, want ErrWrongPassword", err)
	}
}

// TestKeyFileRewrittenCost: whoever edits the parameters, checks included, gains nothing.
func TestKeyFileRewrittenCost(t *testing.T) {
	honest := vault.Cost{Passes: 2, Memory: 64, Lanes: 1}
	file, err := vault.NewKeyFile(password, honest)
	if err != nil {
		t.Fatal(err)
	}
	_, salt, err := vault.ParseKeyFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []vault.Cost{
		{Passes: 1, Memory: 64, Lanes: 1},
		{Passes: 2, Memory: 32, Lanes: 1},
		{Passes: 3, Memory: 64, Lanes: 1},
		{Passes: 0, Memory: 64, Lanes: 1},
		{Passes: 2, Memory: 0, Lanes: 1},
		{Passes: 2, Memory: 64, Lanes: 0},
		{Passes: 1 << 31, Memory: 64, Lanes: 1},
		{Passes: 2, Memory: 1 << 31, Lanes: 1},
		{Passes: 2, Memory: 64, Lanes: 255},
	} {
		forged := append(vault.EncodeHeader(c, salt), file[vault.HeaderSize:]...)
		start := time.Now()
		if err := vault.UnlockKeyFile(forged, password, cheap); !errors.Is(err, vault.ErrWrongPassword) {
			t.Errorf("%+v instead of %+v: %v, want ErrWrongPassword", c, honest, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%+v took %v", c, took)
		}
	}
	// A file that was made cheap is honest, but below the floor.
	if err := vault.UnlockKeyFile(file, password, vault.Cost{Passes: 2, Memory: 65, Lanes: 1}); !errors.Is(err, vault.ErrWrongPassword) {
		t.Errorf("a file below the floor: %v, want ErrWrongPassword", err)
	}
}

func FuzzKeyFile(f *testing.F) {
	file, err := vault.NewKeyFile(password, cheap)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, file []byte) {
		c, salt, err := vault.ParseKeyFile(file)
		if err != nil {
			if (c != vault.Cost{}) {
				t.Errorf("refused, and returns %+v", c)
			}
		} else if !bytes.Equal(vault.EncodeHeader(c, salt), file[:vault.HeaderSize]) {
			t.Error("another encoding of the same parameters is accepted")
		}
		salvaged := vault.SalvageCost(file, vault.Floor())
		if salvaged.Memory > 512<<10 || salvaged.Passes > 64 || salvaged.Lanes > 16 {
			t.Errorf("refusing the file would cost %+v", salvaged)
		}
	})
}

func TestChangePassword(t *testing.T) {
	ctx := t.Context()
	db, _ := create(t)
	next := []byte("新密码")
	sealed, err := db.SealUnderPassword(ctx, password, "account key", secret.NewBox([]byte("private half")))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.ChangePassword(ctx, []byte("guess"), next); !errors.Is(err, vault.ErrWrongPassword) {
		t.Errorf("with a wrong current password: %v, want ErrWrongPassword", err)
	}
	if err := db.ChangePassword(ctx, password, nil); !errors.Is(err, vault.ErrEmptyPassword) {
		t.Errorf("to an empty password: %v, want ErrEmptyPassword", err)
	}
	if err := db.ChangePassword(ctx, password, next); err != nil {
		t.Fatal(err)
	}
	if _, err := db.OpenUnderPassword(ctx, password, "account key", sealed); !errors.Is(err, vault.ErrWrongPassword) {
		t.Errorf("the seal with the old password: %v, want ErrWrongPassword", err)
	}
	box, err := db.OpenUnderPassword(ctx, next, "account key", sealed)
	if err != nil || string(*box.Reveal()) != "private half" {
		t.Errorf("the seal with the new password: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.ChangePassword(ctx, next, password); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
	if _, err := vault.Open(ctx, db.Dir(), password, fast); !errors.Is(err, vault.ErrWrongPassword) {
		t.Errorf("the old password: %v, want ErrWrongPassword", err)
	}
	db, err = vault.Open(ctx, db.Dir(), next, fast)
	if err != nil {
		t.Fatalf("the new password: %v", err)
	}
	defer db.Close()
	view(t, db, func(tx *vault.Tx) error { _, err := tx.Contact(bob.User); return err })
}

func TestSealUnderPassword(t *testing.T) {
	ctx := t.Context()
	db, _ := create(t)
	plain := secret.NewBox([]byte("private half"))
	sealed, err := db.SealUnderPassword(ctx, password, "account key", plain)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, *plain.Reveal()) {
		t.Error("the seal shows what is in it")
	}
	if _, err := db.SealUnderPassword(ctx, []byte("guess"), "account key", plain); !errors.Is(err, vault.ErrWrongPassword) {
		t.Errorf("sealing with a wrong password: %v, want ErrWrongPassword", err)
	}
	if _, err := db.OpenUnderPassword(ctx, password, "another purpose", sealed); err == nil {
		t.Error("it opens for another purpose")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x40
		if _, err := db.OpenUnderPassword(ctx, password, "account key", bad); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
	}
	for size := range sealed {
		if _, err := db.OpenUnderPassword(ctx, password, "account key", sealed[:size]); err == nil {
			t.Errorf("it opens when cut to %d bytes", size)
		}
	}
	other, _ := create(t)
	if _, err := other.OpenUnderPassword(ctx, password, "account key", sealed); err == nil {
		t.Error("it opens in another profile with the same password")
	}
}

// TestPasswordCost uses the real parameters: the tuned ones are at or above the
// floor, a test profile does not open without TestKDF, refusing takes as long as
// opening, and the memory is given back.
func TestPasswordCost(t *testing.T) {
	if testing.Short() {
		t.Skip("derives real keys")
	}
	ctx := t.Context()
	floor := vault.Floor()
	if floor.Memory < 64<<10 {
		t.Errorf("the floor is %+v", floor)
	}
	dir := filepath.Join(t.TempDir(), "p")
	db, err := vault.Create(ctx, dir, password, vault.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, vault.KeyName)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := vault.ParseKeyFile(file)
	if err != nil || c.Passes < floor.Passes || c.Memory < floor.Memory {
		t.Errorf("tuned to %+v (%v), below the floor %+v", c, err, floor)
	}

	open := func(pw []byte) (time.Duration, error) {
		start, startCPU := time.Now(), cpuTime()
		db, err := vault.Open(ctx, dir, pw, vault.Config{})
		took := cpuTime() - startCPU // which depends less on what else the computer does
		if took == 0 {
			took = time.Since(start)
		}
		if err == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if held := m.HeapSys - m.HeapReleased; held > uint64(floor.Memory)<<10 {
				t.Errorf("%d MiB are held with the profile open: the memory of the derivation was not given back", held>>20)
			}
			t.Logf("resident memory with the profile open: %d KiB", residentKiB())
			err = db.Close()
		}
		return took, err
	}
	// refuse compares the time of a refusal with that of an opening directly before.
	// Times vary, so one slow try proves nothing.
	refuse := func(what string, pw, bad []byte) {
		t.Helper()
		for try := 1; ; try++ {
			write(t, path, file)
			right, err := open(password)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, bad)
			took, err := open(pw)
			if !errors.Is(err, vault.ErrWrongPassword) {
				t.Errorf("%s: %v, want ErrWrongPassword", what, err)
			}
			t.Logf("%s: refused in %v, the right password takes %v", what, took, right)
			if took <= 2*right && right <= 2*took {
				return
			}
			if try == 5 {
				t.Errorf("%s takes %v, the right password %v", what, took, right)
				return
			}
		}
	}
	refuse("a wrong password", []byte("guess"), file)
	for name, at := range map[string]int{"version": 0, "memory": 6, "wrap": 100} {
		bad := bytes.Clone(file)
		bad[at] ^= 2
		refuse("a flipped bit in the "+name, password, bad)
	}

	cheapDB, _ := create(t)
	if err := cheapDB.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(ctx, cheapDB.Dir(), password, vault.Config{}); !errors.Is(err, vault.ErrWrongPassword) {
		t.Errorf("a test profile without TestKDF: %v, want ErrWrongPassword", err)
	}
}

// The cost is what half a second affords: memory has a price of its own, and is
// doubled only as long as the passes over it are enough.
func TestTuned(t *testing.T) {
	const ms = time.Millisecond
	floor := vault.Floor()
	for _, c := range []struct {
		memory, pass time.Duration
		want         vault.Cost
	}{
		{0, 2 * ms, vault.Cost{Passes: 62, Memory: 256 << 10, Lanes: floor.Lanes}},
		{0, 0, vault.Cost{Passes: 64, Memory: 256 << 10, Lanes: floor.Lanes}}, // the most that a key file may ask for
		{30 * ms, 15 * ms, vault.Cost{Passes: 6, Memory: 256 << 10, Lanes: floor.Lanes}},
		{100 * ms, 15 * ms, vault.Cost{Passes: 10, Memory: 128 << 10, Lanes: floor.Lanes}},
		{170 * ms, 21 * ms, vault.Cost{Passes: 3, Memory: 128 << 10, Lanes: floor.Lanes}},
		{0, 41 * ms, vault.Cost{Passes: 3, Memory: 256 << 10, Lanes: floor.Lanes}},
		{0, 42 * ms, vault.Cost{Passes: 5, Memory: 128 << 10, Lanes: floor.Lanes}},
		{200 * ms, 60 * ms, vault.Cost{Passes: 5, Memory: 64 << 10, Lanes: floor.Lanes}},
		{0, 10 * time.Second, floor},
		{10 * time.Second, 0, floor},
		{-time.Second, -time.Second, vault.Cost{Passes: 64, Memory: 256 << 10, Lanes: floor.Lanes}}, // measured nonsense
	} {
		if got := vault.Tuned(c.memory, c.pass); got != c.want {
			t.Errorf("memory %v, pass %v: %+v, want %+v", c.memory, c.pass, got, c.want)
		}
	}
}
