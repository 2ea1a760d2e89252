package vault

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"runtime/debug"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/text/unicode/norm"

	"github.com/chate2e/chate2e/internal/secret"
)

// Labels of every key derived in this package.
const (
	labelWrapVault = "ChatE2E vault v1 wrap vault key"
	labelWrapSeal  = "ChatE2E vault v1 wrap seal key"
	labelDatabase  = "ChatE2E vault v1 database"
	labelSeal      = "ChatE2E vault v1 seal under password: "
)

// The key file, 211 bytes:
//
//	1   version, 1
//	33  KDF block
//	33  the same KDF block again
//	72  wrapped vault key: 24 nonce, 32 key, 16 tag
//	72  wrapped seal key, likewise
//
// and a KDF block:
//
//	4   Argon2id passes, big endian
//	4   Argon2id memory in KiB, big endian
//	1   Argon2id lanes
//	16  salt
//	8   first bytes of SHA-256 of the 25 bytes before
//
// Everything before the first wrapped key is associated data of both wraps, so
// a changed parameter fails like a wrong password. The block stands twice, with
// a check, only so that a damaged file costs as much time to refuse as a wrong
// password does.
const (
	keyFileVersion = 1
	saltSize       = 16
	checkSize      = 8
	kdfBlockSize   = 4 + 4 + 1 + saltSize + checkSize
	headerSize     = 1 + 2*kdfBlockSize
	wrapSize       = chacha20poly1305.NonceSizeX + secret.KeySize + chacha20poly1305.Overhead
	keyFileSize    = headerSize + 2*wrapSize
)

// cost is what one guess of the password costs.
type cost struct {
	passes uint32
	memory uint32 // KiB
	lanes  uint8
}

var (
	// floor is the cheapest key file that opens: the second recommended option
	// of RFC 9106, Section 4, with three passes over 64 MiB.
	floor = cost{passes: 3, memory: 64 << 10, lanes: 4}
	// ceiling keeps a forged key file from taking all memory or all day.
	ceiling = cost{passes: 64, memory: 512 << 10, lanes: 16}
	// testCost is for Config.TestKDF: it protects nothing.
	testCost = cost{passes: 1, memory: 32, lanes: 1}
)

// tuneFor is how long opening a profile may take on the computer that made it.
const tuneFor = 500 * time.Millisecond

// tune returns the cost that takes about [tuneFor] on this computer, never less
// than floor.
func tune() cost {
	measure := func(passes uint32) time.Duration {
		best := tuneFor // the fastest of some, for the computer may be busy
		for range 3 {
			debug.FreeOSMemory() // a program that has just started has none either
			start := time.Now()
			argon2.IDKey(nil, make([]byte, saltSize), passes, floor.memory, floor.lanes, secret.KeySize)
			best = min(best, time.Since(start))
		}
		return best
	}
	one, all := measure(1), measure(floor.passes)
	pass := (all - one) / time.Duration(floor.passes-1)
	return tuned(one-pass, pass)
}

// tuned returns the cost that takes about [tuneFor] where it takes so long to get
// floor's memory, and so long to pass over it once. More memory comes before more
// passes, up to 256 MiB.
func tuned(memory, pass time.Duration) cost {
	memory, pass = max(memory, 0), max(pass, time.Millisecond)
	affordable := func(c cost) int64 { // passes
		times := time.Duration(c.memory / floor.memory)
		return int64((tuneFor/times - memory) / pass)
	}
	c := floor
	for c.memory < 256<<10 {
		twice := cost{c.passes, 2 * c.memory, c.lanes}
		if affordable(twice) < int64(floor.passes) {
			break
		}
		c = twice
	}
	c.passes = uint32(min(max(affordable(c), int64(floor.passes)), int64(ceiling.passes))) //nolint:gosec // within the bounds
	return c
}

func (c cost) atLeast(least cost) bool {
	return c.passes >= least.passes && c.memory >= least.memory && c.lanes >= 1
}

func (c cost) sane() bool {
	return c.passes >= 1 && c.passes <= ceiling.passes && c.memory <= ceiling.memory &&
		c.lanes >= 1 && c.lanes <= ceiling.lanes && c.memory >= 8*uint32(c.lanes)
}

// kdf is one KDF block.
type kdf struct {
	cost
	salt [saltSize]byte
}

func (k kdf) append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, k.passes)
	b = binary.BigEndian.AppendUint32(b, k.memory)
	b = append(b, k.lanes)
	b = append(b, k.salt[:]...)
	check := sha256.Sum256(b[start:])
	return append(b, check[:checkSize]...)
}

// parseKDF reads one block. It reports false for a block whose check fails or
// whose cost is out of range.
func parseKDF(b []byte) (kdf, bool) {
	body, check := b[:kdfBlockSize-checkSize], b[kdfBlockSize-checkSize:kdfBlockSize]
	sum := sha256.Sum256(body)
	if !bytes.Equal(sum[:checkSize], check) {
		return kdf{}, false
	}
	k := kdf{cost: cost{
		passes: binary.BigEndian.Uint32(body),
		memory: binary.BigEndian.Uint32(body[4:]),
		lanes:  body[8],
	}}
	copy(k.salt[:], body[9:])
	return k, k.sane()
}

// derive turns the password into the two wrapping keys. Passwords are brought
// to Unicode's composed form first: keyboards differ in how they send é.
func (k kdf) derive(password []byte) (wrapping, error) {
	root := argon2.IDKey(norm.NFC.Bytes(password), k.salt[:], k.passes, k.memory, k.lanes, secret.KeySize)
	defer clear(root)
	vault, err := expand(root, labelWrapVault)
	if err != nil {
		return wrapping{}, err
	}
	seal, err := expand(root, labelWrapSeal)
	return wrapping{vault: vault, seal: seal}, err
}

// wrapping holds the two keys derived from a password.
type wrapping struct{ vault, seal secret.Key }

func (w wrapping) wipe() { w.vault.Wipe(); w.seal.Wipe() }

// keys are what a key file protects.
type keys struct {
	vault secret.Key // opens the database
	seal  secret.Key // opens what was sealed under the password
}

func newKeys() keys {
	var a, b [secret.KeySize]byte
	_, _ = rand.Read(a[:])
	_, _ = rand.Read(b[:])
	return keys{vault: secret.NewKey(a), seal: secret.NewKey(b)}
}

func (k keys) wipe() { k.vault.Wipe(); k.seal.Wipe() }

// database returns the key of the block cipher.
func (k keys) database() (secret.Key, error) { return expand(k.vault.Bytes(), labelDatabase) }

// lockKeys makes a key file: k under password, at cost c, with a new salt.
func lockKeys(k keys, password []byte, c cost) ([]byte, error) {
	p := kdf{cost: c}
	_, _ = rand.Read(p.salt[:])
	w, err := p.derive(password)
	if err != nil {
		return nil, err
	}
	defer w.wipe()

	file := make([]byte, 0, keyFileSize)
	file = append(file, keyFileVersion)
	file = p.append(file)
	file = p.append(file)
	header := file
	if file, err = sealAppend(file, w.vault, k.vault.Bytes(), header); err != nil {
		return nil, err
	}
	return sealAppend(file, w.seal, k.seal.Bytes(), header)
}

// unlockKeys opens a key file. Whatever is wrong, the password or the file, the
// answer is [ErrWrongPassword] after one derivation at the file's own cost, or at
// least if the file is too damaged to name one or names less than least.
func unlockKeys(file, password []byte, least cost) (keys, error) {
	p, err := parseKeyFile(file)
	if err != nil {
		p = salvageKDF(file, least)
	}
	if !p.atLeast(least) {
		p.cost, err = least, ErrWrongPassword
	}
	w, deriveErr := p.derive(password)
	if deriveErr != nil {
		return keys{}, deriveErr
	}
	defer w.wipe()
	if err != nil {
		return keys{}, ErrWrongPassword
	}

	header, wraps := file[:headerSize], file[headerSize:]
	vault, vaultErr := openKey(w.vault, wraps[:wrapSize], header)
	seal, sealErr := openKey(w.seal, wraps[wrapSize:], header)
	if vaultErr != nil || sealErr != nil {
		vault.Wipe()
		seal.Wipe()
		return keys{}, ErrWrongPassword
	}
	return keys{vault: vault, seal: seal}, nil
}

var errKeyFile = errors.New("vault: not a key file")

// parseKeyFile reads the only encoding a key file has.
func parseKeyFile(file []byte) (kdf, error) {
	if len(file) != keyFileSize || file[0] != keyFileVersion {
		return kdf{}, errKeyFile
	}
	first, second := file[1:1+kdfBlockSize], file[1+kdfBlockSize:headerSize]
	p, ok := parseKDF(first)
	if !ok || !bytes.Equal(first, second) {
		return kdf{}, errKeyFile
	}
	return p, nil
}

// salvageKDF finds the parameters of a damaged key file, so that refusing it
// takes the usual time; without any it returns least.
func salvageKDF(file []byte, least cost) kdf {
	for _, at := range []int{1, 1 + kdfBlockSize} {
		if len(file) >= at+kdfBlockSize {
			if p, ok := parseKDF(file[at:]); ok {
				return p
			}
		}
	}
	return kdf{cost: least}
}

// sealBlob returns version, nonce and ciphertext of plaintext under key.
func sealBlob(key secret.Key, plaintext []byte) ([]byte, error) {
	return sealAppend([]byte{sealVersion}, key, plaintext, nil)
}

const sealVersion = 1

// openBlob opens what [sealBlob] made.
func openBlob(key secret.Key, blob []byte) ([]byte, error) {
	if len(blob) < 1 || blob[0] != sealVersion {
		return nil, errSeal
	}
	return open(key, blob[1:], nil)
}

var errSeal = errors.New("vault: the seal does not open")

// sealAppend appends a random nonce and the XChaCha20-Poly1305 ciphertext.
func sealAppend(dst []byte, key secret.Key, plaintext, ad []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(key.Bytes())
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	_, _ = rand.Read(nonce)
	return aead.Seal(append(dst, nonce...), nonce, plaintext, ad), nil
}

func open(key secret.Key, sealed, ad []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(key.Bytes())
	if err != nil {
		return nil, err
	}
	if len(sealed) < chacha20poly1305.NonceSizeX+chacha20poly1305.Overhead {
		return nil, errSeal
	}
	plaintext, err := aead.Open(nil, sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:], ad)
	if err != nil {
		return nil, errSeal
	}
	return plaintext, nil
}

func openKey(key secret.Key, sealed, ad []byte) (secret.Key, error) {
	b, err := open(key, sealed, ad)
	if err != nil {
		return secret.Key{}, err
	}
	defer clear(b)
	return secret.ParseKey(b)
}

// expand is HKDF-SHA256 (RFC 5869) without salt: root is uniform already.
func expand(root []byte, label string) (secret.Key, error) {
	b, err := hkdf.Expand(sha256.New, root, label, secret.KeySize)
	if err != nil {
		return secret.Key{}, err
	}
	defer clear(b)
	return secret.ParseKey(b)
}
