package vault

import (
	"errors"
	"time"
)

// LoginIDSize is the size of the ID of a login in bytes.
const LoginIDSize = 16

// How many logins are remembered. A relay tells of the newest few; one that was
// restored from a backup, of the newest few of then. Others are bounded apart from
// our own, so that a relay cannot make us forget those.
const (
	maxOwnLogins   = 4096
	maxOtherLogins = 256
)

// counterLogins counts the logins that the relay has answered.
const counterLogins = "logins"

// AddLogin stores the ID of a login that this profile is about to make. One that is
// known already, as a relay brings about that repeats itself, stays what it is.
func (tx *Tx) AddLogin(id [LoginIDSize]byte) error {
	if _, err := tx.exec(`INSERT INTO logins (id) VALUES (?) ON CONFLICT (id) DO NOTHING`, id[:]); err != nil {
		return err
	}
	_, err := tx.exec(`
		DELETE FROM logins WHERE noticed_at IS NULL AND number <=
			(SELECT number FROM logins WHERE noticed_at IS NULL ORDER BY number DESC LIMIT 1 OFFSET ?)`, maxOwnLogins)
	return err
}

// NoteLogins takes the IDs of the logins that the relay says were made with the keys
// of this profile, and returns how many of them are news and not our own. All are
// taken for our own at the first answer: a profile that is older than the IDs did
// not write its logins down. With any other the first answer is that to the
// registration, and names none.
func (tx *Tx) NoteLogins(ids [][LoginIDSize]byte) (others int, err error) {
	answered, err := tx.AddToCounter(counterLogins, 1)
	if err != nil {
		return 0, err
	}
	noticed := stamp(tx.Now)
	if answered == 1 {
		noticed = nil
	}
	for _, id := range ids {
		n, err := tx.exec(`INSERT INTO logins (id, noticed_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`, id[:], noticed)
		if err != nil {
			return 0, err
		}
		if noticed != nil {
			others += int(n)
		}
	}
	if others == 0 {
		return 0, nil
	}
	_, err = tx.exec(`
		DELETE FROM logins WHERE noticed_at IS NOT NULL AND number <=
			(SELECT number FROM logins WHERE noticed_at IS NOT NULL ORDER BY number DESC LIMIT 1 OFFSET ?)`, maxOtherLogins)
	return others, err
}

// Conflict returns when a login of somebody else with the keys of this profile was
// noticed last; the zero time if none was.
func (tx *Tx) Conflict() (time.Time, error) {
	var at time.Time
	err := tx.row(`SELECT noticed_at FROM logins WHERE noticed_at IS NOT NULL ORDER BY number DESC LIMIT 1`, nil, timestamp{&at})
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return at, err
}
