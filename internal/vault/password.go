package vault

import (
	"context"
	"errors"

	"github.com/chate2e/chate2e/internal/secret"
)

// ChangePassword makes next the profile's password. It returns [ErrWrongPassword]
// if current is not it, and [ErrEmptyPassword] if next is empty. After a crash at
// any point one of the two opens the profile.
//
// Only the wrapping of the keys changes, so what was sealed under the old password
// opens under the new one; and a copy of the old key file still opens with the old one.
func (db *DB) ChangePassword(ctx context.Context, current, next []byte) error {
	if len(next) == 0 {
		return ErrEmptyPassword
	}
	db.passwords.Lock()
	defer db.passwords.Unlock()
	k, err := db.unlock(ctx, current)
	if err != nil {
		return err
	}
	defer k.wipe()
	file, err := lockKeys(k, next, db.cfg.newCost())
	if err != nil {
		return err
	}
	returnMemory(db.cfg)
	if db.closed() {
		return ErrClosed // the lock is gone: the folder may be another process's by now
	}
	return writeKeyFile(db.dir, file)
}

// SealUnderPassword encrypts something that an open vault alone must not open:
// [DB.OpenUnderPassword] asks for the password again. The purpose is bound to it.
// The sealed bytes are for storing inside the vault; a password change keeps them
// valid. [ErrWrongPassword] if password is not the profile's.
func (db *DB) SealUnderPassword(ctx context.Context, password []byte, purpose string, plaintext secret.Box[[]byte]) ([]byte, error) {
	key, err := db.sealKey(ctx, password, purpose)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return sealBlob(key, *plaintext.Reveal())
}

// OpenUnderPassword opens what [DB.SealUnderPassword] made for the same purpose.
// [ErrWrongPassword] if password is not the profile's; another error if sealed
// was changed or made for another purpose or profile.
func (db *DB) OpenUnderPassword(ctx context.Context, password []byte, purpose string, sealed []byte) (secret.Box[[]byte], error) {
	key, err := db.sealKey(ctx, password, purpose)
	if err != nil {
		return secret.Box[[]byte]{}, err
	}
	defer key.Wipe()
	plaintext, err := openBlob(key, sealed)
	if err != nil {
		return secret.Box[[]byte]{}, err
	}
	return secret.NewBox(plaintext), nil
}

func (db *DB) sealKey(ctx context.Context, password []byte, purpose string) (secret.Key, error) {
	if purpose == "" {
		return secret.Key{}, errors.New("vault: a seal needs a purpose")
	}
	db.passwords.Lock()
	defer db.passwords.Unlock()
	k, err := db.unlock(ctx, password)
	if err != nil {
		return secret.Key{}, err
	}
	defer k.wipe()
	return expand(k.seal.Bytes(), labelSeal+purpose)
}

func (db *DB) closed() bool {
	select {
	case <-db.closing:
		return true
	default:
		return false
	}
}
