package interop

import "encoding/binary"

// protobufField finds the field that begins at b[at:]: its number, and where its value begins and ends.
// Only varints and length-delimited fields are known; libsignal's messages have no others.
func protobufField(b []byte, at int) (field, from, to int, ok bool) {
	tag, n := binary.Uvarint(b[at:])
	if n <= 0 {
		return 0, 0, 0, false
	}
	at += n
	value, n := binary.Uvarint(b[at:])
	if n <= 0 {
		return 0, 0, 0, false
	}
	switch tag & 7 {
	case 0:
		return int(tag >> 3), at, at + n, true //nolint:gosec // field numbers are small
	case 2:
		at += n
		if value > uint64(len(b)-at) {
			return 0, 0, 0, false
		}
		return int(tag >> 3), at, at + int(value), value > 0 //nolint:gosec // bounded above
	}
	return 0, 0, 0, false
}
