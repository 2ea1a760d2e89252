package safety

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The scannable form is the protobuf message
//
//	message CombinedFingerprints {
//	  uint32 version = 1;
//	  LogicalFingerprint local = 2;    // message LogicalFingerprint { bytes content = 1; }
//	  LogicalFingerprint remote = 3;
//	}
//
// in its canonical encoding: fields in order, once each, varints minimal. The
// content is the first 32 bytes of a party's full hash.
const (
	fieldVersion protowire.Number = 1
	fieldLocal   protowire.Number = 2
	fieldRemote  protowire.Number = 3
	fieldContent protowire.Number = 1

	// logicalSize is the size in bytes of a LogicalFingerprint: a tag, a length and
	// the content.
	logicalSize = 1 + 1 + hashSize

	// maxScannable is the size in bytes of the longest scannable form, that with a
	// five-byte version.
	maxScannable = 78
)

var (
	// ErrScannable is returned by [Number.Compare] for bytes that are no scannable
	// safety number.
	ErrScannable = errors.New("safety: not a scannable safety number")
	// ErrVersion is wrapped by the error of [Number.Compare] when the other side
	// uses another display version: one of the two applications is out of date.
	ErrVersion = errors.New("safety: the other side uses another version of safety numbers")
)

// Scannable returns the bytes to show as a QR code for the other side to pass to
// [Number.Compare].
func (n *Number) Scannable() []byte {
	return appendScannable(nil, n.version, &n.local, &n.remote)
}

func appendScannable(b []byte, version uint32, local, remote *[hashSize]byte) []byte {
	b = protowire.AppendTag(b, fieldVersion, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(version))
	b = appendHash(b, fieldLocal, local)
	return appendHash(b, fieldRemote, remote)
}

func appendHash(b []byte, field protowire.Number, hash *[hashSize]byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, logicalSize)
	b = protowire.AppendTag(b, fieldContent, protowire.BytesType)
	return protowire.AppendBytes(b, hash[:])
}

// Compare reports, in constant time, whether scanned is the scannable form of
// this number as the other side sees it: their local key is our remote one, and
// the other way round. It returns [ErrScannable] for bytes that are no scannable
// form, and wraps [ErrVersion] for one of another version.
func (n *Number) Compare(scanned []byte) (bool, error) {
	version, local, remote, err := parseScannable(scanned)
	if err != nil {
		return false, err
	}
	if version != n.version {
		return false, fmt.Errorf("%w: theirs is %d, ours %d", ErrVersion, version, n.version)
	}
	crossed := subtle.ConstantTimeCompare(local[:], n.remote[:]) &
		subtle.ConstantTimeCompare(remote[:], n.local[:])
	return n.version != 0 && crossed == 1, nil
}

// parseScannable is strict: what it accepts is exactly what appendScannable
// makes.
func parseScannable(b []byte) (version uint32, local, remote [hashSize]byte, err error) {
	fail := func() (uint32, [hashSize]byte, [hashSize]byte, error) {
		return 0, [hashSize]byte{}, [hashSize]byte{}, ErrScannable
	}
	if len(b) > maxScannable {
		return fail()
	}
	rest, ok := consumeTag(b, fieldVersion, protowire.VarintType)
	if !ok {
		return fail()
	}
	wide, size := protowire.ConsumeVarint(rest)
	if size < 0 || size != protowire.SizeVarint(wide) || wide > math.MaxUint32 {
		return fail()
	}
	local, rest, ok = consumeHash(rest[size:], fieldLocal)
	if !ok {
		return fail()
	}
	remote, rest, ok = consumeHash(rest, fieldRemote)
	if !ok || len(rest) != 0 {
		return fail()
	}
	return uint32(wide), local, remote, nil
}

func consumeTag(b []byte, field protowire.Number, typ protowire.Type) (rest []byte, ok bool) {
	gotField, gotType, size := protowire.ConsumeTag(b)
	if size != protowire.SizeTag(field) || gotField != field || gotType != typ {
		return nil, false
	}
	return b[size:], true
}

// consumeHash reads a LogicalFingerprint in the given field.
func consumeHash(b []byte, field protowire.Number) (hash [hashSize]byte, rest []byte, ok bool) {
	b, ok = consumeTag(b, field, protowire.BytesType)
	if !ok {
		return hash, nil, false
	}
	if len(b) < 1+logicalSize || b[0] != logicalSize {
		return hash, nil, false
	}
	content, ok := consumeTag(b[1:], fieldContent, protowire.BytesType)
	if !ok || content[0] != hashSize {
		return hash, nil, false
	}
	return [hashSize]byte(content[1:]), b[1+logicalSize:], true
}
