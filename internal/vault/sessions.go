package vault

import (
	"crypto/subtle"
	"errors"
	"time"
)

// Record returns the session record for a device, or nil if there is none. It
// holds keys.
func (tx *Tx) Record(with Address) ([]byte, error) {
	var record []byte
	err := tx.row(`SELECT record FROM records WHERE user_id = ? AND device = ?`, args(with.User, with.Device), &record)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return record, err
}

// PutRecord stores or replaces the session record for a device.
func (tx *Tx) PutRecord(with Address, record []byte) error {
	_, err := tx.exec(`INSERT OR REPLACE INTO records (user_id, device, record, updated_at) VALUES (?, ?, ?, ?)`,
		with.User, with.Device, blob(record), stamp(tx.Now))
	return err
}

// DeleteRecord erases the session record for a device, if there is one.
func (tx *Tx) DeleteRecord(with Address) error {
	_, err := tx.exec(`DELETE FROM records WHERE user_id = ? AND device = ?`, with.User, with.Device)
	return err
}

// DeviceList is an account's signed list of devices, checked by the caller.
type DeviceList struct {
	User    string
	Version uint64
	Hash    [32]byte
	Signed  []byte   // the list as it was signed; opaque
	Devices []Device // what it says
}

// Device is one entry of a device list.
type Device struct {
	Address
	Identity []byte // public identity key
	AddedAt  time.Time
}

// PutDeviceList stores a device list. A newer version replaces the account's
// devices; the session records of devices that are no longer listed are erased,
// and so are ciphertexts that wait for them. The same list again changes nothing.
//
// [ErrConflict]: the list is older than the newest one, or has its version and
// another hash; or it is no list at all: version 0 or above 2^63-1, a device 0, one
// that stands twice. Nothing was changed then.
func (tx *Tx) PutDeviceList(l DeviceList) error {
	if !l.sane() {
		return ErrConflict
	}
	newest, err := tx.DeviceList(l.User)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	case l.Version == newest.Version && l.Hash == newest.Hash:
		return nil
	case l.Version <= newest.Version:
		return ErrConflict
	}
	if _, err := tx.exec(`INSERT INTO device_lists (user_id, version, hash, signed, seen_at) VALUES (?, ?, ?, ?, ?)`,
		l.User, stored(l.Version), l.Hash[:], blob(l.Signed), stamp(tx.Now)); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM devices WHERE user_id = ?`, l.User); err != nil {
		return err
	}
	for _, d := range l.Devices {
		if _, err := tx.exec(`INSERT INTO devices (user_id, device, identity, added_at) VALUES (?, ?, ?, ?)`,
			l.User, d.Device, blob(d.Identity), stamp(d.AddedAt)); err != nil {
			return err
		}
	}
	for _, forget := range []string{
		`DELETE FROM records WHERE user_id = ?1 AND device NOT IN (SELECT device FROM devices WHERE user_id = ?1)`,
		`DELETE FROM sealed WHERE user_id = ?1 AND device NOT IN (SELECT device FROM devices WHERE user_id = ?1)`,
	} {
		if _, err := tx.exec(forget, l.User); err != nil {
			return err
		}
	}
	return nil
}

func (l DeviceList) sane() bool {
	seen := map[uint32]bool{0: true}
	for _, d := range l.Devices {
		if seen[d.Device] {
			return false
		}
		seen[d.Device] = true
	}
	return stored(l.Version) > 0
}

// DeviceList returns the newest device list of an account, or [ErrNotFound].
func (tx *Tx) DeviceList(user string) (DeviceList, error) {
	return tx.deviceList(`WHERE user_id = ? ORDER BY version DESC LIMIT 1`, user)
}

// DeviceListVersion returns one version of an account's device list, its Devices
// left out, or [ErrNotFound].
func (tx *Tx) DeviceListVersion(user string, version uint64) (DeviceList, error) {
	l, err := tx.deviceList(`WHERE user_id = ? AND version = ?`, user, stored(version))
	l.Devices = nil
	return l, err
}

func (tx *Tx) deviceList(condition string, a ...any) (DeviceList, error) {
	var l DeviceList
	var hash []byte
	err := tx.row(`SELECT user_id, version, hash, signed FROM device_lists `+condition, a,
		&l.User, &l.Version, &hash, &l.Signed)
	if err != nil {
		return DeviceList{}, err
	}
	copy(l.Hash[:], hash)
	l.Devices, err = list(tx, scanDevice, `SELECT user_id, device, identity, added_at FROM devices WHERE user_id = ?`, l.User)
	return l, err
}

func scanDevice(row scanner) (Device, error) {
	var d Device
	err := row.Scan(&d.User, &d.Device, &d.Identity, timestamp{&d.AddedAt})
	return d, err
}

// Devices returns the devices that a message in chat goes to: the contact's, and
// our own other ones.
func (tx *Tx) Devices(chat ChatID) ([]Device, error) {
	return list(tx, scanDevice, `
		SELECT d.user_id, d.device, d.identity, d.added_at
		FROM devices d
		WHERE d.user_id = (SELECT k.user_id FROM chats c JOIN contacts k ON k.id = c.contact WHERE c.id = ?)
			OR EXISTS (SELECT 1 FROM own WHERE own.user_id = d.user_id AND own.device <> d.device)
		ORDER BY d.user_id, d.device`, chat)
}

// CheckIdentity returns nil if the newest device list of the account names the
// device with this identity key, [ErrNotFound] if it does not name the device,
// and [ErrConflict] if it names it with another key.
func (tx *Tx) CheckIdentity(device Address, identity []byte) error {
	var listed []byte
	err := tx.row(`SELECT identity FROM devices WHERE user_id = ? AND device = ?`,
		args(device.User, device.Device), &listed)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(listed, identity) != 1 {
		return ErrConflict
	}
	return nil
}
