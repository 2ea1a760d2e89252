package senderkey

import (
	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/cbc"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/internal/wire"
)

// The messages of the official library: a version byte, a protobuf, and the
// signature of both.
const (
	libsignalVersion = 0x33

	fieldGroup      wire.Field = 1
	fieldChainID    wire.Field = 2
	fieldIteration  wire.Field = 3
	fieldCiphertext wire.Field = 4 // SenderKeyMessage
	fieldChainKey   wire.Field = 4 // SenderKeyDistributionMessage
	fieldSigning    wire.Field = 5
)

type libsignalCodec struct{}

func (libsignalCodec) chainID() uint32 { return chate2eCodec{}.chainID() >> 1 } // 31 bits

func (libsignalCodec) appendDistribution(d *distribution) []byte {
	signing := d.signing.Encode()
	b := appendLibsignalStart(make([]byte, 0, 96), d.group, d.chainID, d.iteration)
	b = wire.AppendBytes(b, fieldChainKey, d.chainKey.Bytes())
	return wire.AppendBytes(b, fieldSigning, signing[:])
}

func appendLibsignalStart(b []byte, group GroupID, chainID, iteration uint32) []byte {
	b = append(b, libsignalVersion)
	b = wire.AppendBytes(b, fieldGroup, group[:])
	b = wire.AppendNumber(b, fieldChainID, chainID)
	return wire.AppendNumber(b, fieldIteration, iteration)
}

func parseLibsignal(b []byte, data ...wire.Field) (*wire.Message, bool) {
	if len(b) == 0 || b[0]>>4 != libsignalVersion>>4 {
		return nil, false
	}
	fields, ok := wire.Parse(b[1:], []wire.Field{fieldChainID, fieldIteration}, append(data, fieldGroup))
	if !ok || !fields.Has(fieldGroup, fieldChainID, fieldIteration) || !fields.Has(data...) ||
		len(fields.Bytes[fieldGroup]) != len(GroupID{}) {
		return nil, false
	}
	return fields, true
}

func (libsignalCodec) parseDistribution(b []byte) (distribution, bool) {
	fields, ok := parseLibsignal(b, fieldChainKey, fieldSigning)
	if !ok {
		return distribution{}, false
	}
	signing, err := curve.ParsePublicKey(fields.Bytes[fieldSigning])
	if err != nil {
		return distribution{}, false
	}
	key, err := secret.ParseKey(fields.Bytes[fieldChainKey])
	return distribution{
		group: GroupID(fields.Bytes[fieldGroup]), chainID: fields.Numbers[fieldChainID],
		iteration: fields.Numbers[fieldIteration], chainKey: key, signing: signing,
	}, err == nil
}

func (libsignalCodec) seal(group GroupID, _ signal.Address, chainID, iteration uint32, seed *[32]byte, plaintext []byte) []byte {
	iv, key := libsignalKeys(seed)
	ciphertext := cbc.Encrypt(&key, &iv, plaintext)
	clear(key[:])
	b := appendLibsignalStart(make([]byte, 0, len(ciphertext)+128), group, chainID, iteration)
	return wire.AppendBytes(b, fieldCiphertext, ciphertext)
}

func (libsignalCodec) parse(b []byte) (*Message, bool) {
	if len(b) < curve.SignatureSize {
		return nil, false
	}
	end := len(b) - curve.SignatureSize
	fields, ok := parseLibsignal(b[:end], fieldCiphertext)
	if !ok {
		return nil, false
	}
	return &Message{
		raw: b, group: GroupID(fields.Bytes[fieldGroup]), chainID: fields.Numbers[fieldChainID],
		iteration: fields.Numbers[fieldIteration], ciphertext: fields.Bytes[fieldCiphertext], signature: b[end:],
	}, true
}

// open is for a message whose signature was checked.
func (libsignalCodec) open(m *Message, _ signal.Address, seed *[32]byte) ([]byte, bool) {
	iv, key := libsignalKeys(seed)
	defer clear(key[:])
	return cbc.Decrypt(&key, &iv, m.ciphertext)
}

func libsignalKeys(seed *[32]byte) (iv [cbc.IVSize]byte, key [cbc.KeySize]byte) {
	keys := kdf.HKDF(seed[:], kdf.Zero[:], kdf.LibsignalGroupMessage.String(), len(iv)+len(key))
	copy(key[:], keys[copy(iv[:], keys):])
	clear(keys)
	return iv, key
}

func (libsignalCodec) signed(_ signal.Address, unsigned []byte) []byte { return unsigned }
