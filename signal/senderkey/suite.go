package senderkey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/cbc"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/internal/wire"
)

// Suite is a complete choice of algorithms and formats.
type Suite uint8

const (
	// Chate2eV1 is the suite of ChatE2E: AES-256-GCM with a key commitment
	// (docs/PROTOCOL.md, Groups).
	Chate2eV1 Suite = 1
	// Libsignal is what the official library speaks.
	Libsignal Suite = 3
)

// String returns the suite's name.
func (s Suite) String() string {
	switch s {
	case Chate2eV1:
		return "chate2e/v1"
	case Libsignal:
		return "libsignal"
	default:
		return "unknown suite"
	}
}

var (
	// ErrSuite is returned for an unknown suite.
	ErrSuite = errors.New("senderkey: wrong suite")
	// ErrMalformed is returned for bytes that are no message or distribution
	// message.
	ErrMalformed = errors.New("senderkey: malformed message")
	// ErrNoChain is returned by Decrypt for a message of a chain that was not
	// distributed to us.
	ErrNoChain = errors.New("senderkey: unknown chain")
	// ErrDuplicate is returned by Decrypt for a message whose key was used before.
	ErrDuplicate = errors.New("senderkey: message was received before")
	// ErrDecrypt is returned by Decrypt for every message that does not open,
	// without a hint of what was wrong with it.
	ErrDecrypt = errors.New("senderkey: message does not open")
	// ErrExhausted is returned by Encrypt when a chain has no numbers left.
	ErrExhausted = errors.New("senderkey: chain exhausted")
)

// GroupID names a group; the official library's distribution ID, a UUID.
type GroupID [16]byte

// distribution is a parsed distribution message. It is secret: it opens all later
// messages of its chain.
type distribution struct {
	group     GroupID
	chainID   uint32
	iteration uint32
	chainKey  secret.Key
	signing   curve.PublicKey
}

// Message is a parsed group message, of which nothing is authenticated yet.
type Message struct {
	suite      Suite
	group      GroupID
	chainID    uint32
	iteration  uint32
	raw        []byte
	header     []byte // chate2e/v1: what precedes the ciphertext
	salt       []byte // chate2e/v1
	commitment []byte // chate2e/v1
	ciphertext []byte
	signature  []byte
}

// Group returns the group that the message says it is for.
func (m *Message) Group() GroupID { return m.group }

// ChainID returns the sender's chain that the message belongs to.
func (m *Message) ChainID() uint32 { return m.chainID }

// Iteration returns the number of the message in its chain, from 0.
func (m *Message) Iteration() uint32 { return m.iteration }

// codec is everything in which the suites differ.
type codec interface {
	chainID() uint32
	appendDistribution(d *distribution) []byte
	parseDistribution(b []byte) (distribution, bool)
	// seal returns the message but for its signature.
	seal(group GroupID, sender signal.Address, chainID, iteration uint32, seed *[32]byte, plaintext []byte) []byte
	parse(b []byte) (*Message, bool)
	open(m *Message, sender signal.Address, seed *[32]byte) ([]byte, bool)
	// signed returns what the signature of a message covers.
	signed(sender signal.Address, unsigned []byte) []byte
}

func (s Suite) codec() codec {
	switch s {
	case Chate2eV1:
		return chate2eCodec{}
	case Libsignal:
		return libsignalCodec{}
	default:
		return nil
	}
}

// Parse decodes a group message of the suite. It returns [ErrSuite] or
// [ErrMalformed].
func Parse(suite Suite, b []byte) (*Message, error) {
	c := suite.codec()
	if c == nil {
		return nil, ErrSuite
	}
	if m, ok := c.parse(slices.Clone(b)); ok {
		m.suite = suite
		return m, nil
	}
	return nil, ErrMalformed
}

// ── chate2e/v1 ──────────────────────────────────────────────────────────────

const (
	chate2eVersion          = 1
	typeMessage             = 7
	typeDistribution        = 8
	saltSize                = 16
	tagSize                 = 16
	commitmentSize          = 32
	chate2eHeaderSize       = 2 + len(GroupID{}) + 4 + 4 + saltSize + commitmentSize
	chate2eDistributionSize = 2 + len(GroupID{}) + 4 + 4 + 32 + curve.KeySize
)

type chate2eCodec struct{}

func (chate2eCodec) chainID() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:])
}

func (chate2eCodec) appendDistribution(d *distribution) []byte {
	b := make([]byte, 0, chate2eDistributionSize)
	b = append(b, chate2eVersion, typeDistribution)
	b = append(b, d.group[:]...)
	b = binary.BigEndian.AppendUint32(b, d.chainID)
	b = binary.BigEndian.AppendUint32(b, d.iteration)
	b = append(b, d.chainKey.Bytes()...)
	return append(b, d.signing[:]...)
}

func (chate2eCodec) parseDistribution(b []byte) (distribution, bool) {
	in := cryptobyte.String(b)
	var d distribution
	ok := readStart(&in, typeDistribution, &d.group, &d.chainID, &d.iteration) &&
		readKey(&in, &d.chainKey) && in.CopyBytes(d.signing[:]) && in.Empty()
	return d, ok
}

func readStart(in *cryptobyte.String, want uint8, group *GroupID, chainID, iteration *uint32) bool {
	var version, kind uint8
	return in.ReadUint8(&version) && version == chate2eVersion && in.ReadUint8(&kind) && kind == want &&
		in.CopyBytes(group[:]) && in.ReadUint32(chainID) && in.ReadUint32(iteration)
}

func (chate2eCodec) seal(group GroupID, sender signal.Address, chainID, iteration uint32, seed *[32]byte, plaintext []byte) []byte {
	b := make([]byte, 0, chate2eHeaderSize+len(plaintext)+tagSize+curve.SignatureSize)
	b = append(b, chate2eVersion, typeMessage)
	b = append(b, group[:]...)
	b = binary.BigEndian.AppendUint32(b, chainID)
	b = binary.BigEndian.AppendUint32(b, iteration)
	salt := b[len(b) : len(b)+saltSize]
	_, _ = rand.Read(salt) // never fails
	b = b[:len(b)+saltSize]
	aead, nonce, commitment := chate2eKeys(seed, salt)
	b = append(b, commitment...)
	return aead.Seal(b, nonce, plaintext, chate2eAssociated(sender, b))
}

func (chate2eCodec) parse(b []byte) (*Message, bool) {
	in := cryptobyte.String(b)
	m := &Message{raw: b}
	if !readStart(&in, typeMessage, &m.group, &m.chainID, &m.iteration) ||
		!in.ReadBytes(&m.salt, saltSize) || !in.ReadBytes(&m.commitment, commitmentSize) ||
		len(in) < tagSize+curve.SignatureSize {
		return nil, false
	}
	m.header = b[:chate2eHeaderSize]
	m.ciphertext, m.signature = in[:len(in)-curve.SignatureSize], in[len(in)-curve.SignatureSize:]
	return m, true
}

func (chate2eCodec) open(m *Message, sender signal.Address, seed *[32]byte) ([]byte, bool) {
	aead, nonce, commitment := chate2eKeys(seed, m.salt)
	if subtle.ConstantTimeCompare(commitment, m.commitment) != 1 {
		return nil, false
	}
	plaintext, err := aead.Open(nil, nonce, m.ciphertext, chate2eAssociated(sender, m.header))
	return plaintext, err == nil
}

// chate2eKeys derives the cipher, the nonce and a commitment to the key: AES-GCM
// alone would let a member make one ciphertext that opens to different texts
// under different keys.
func chate2eKeys(seed *[32]byte, salt []byte) (aead cipher.AEAD, nonce, commitment []byte) {
	var input [32 + saltSize]byte
	copy(input[:], seed[:])
	copy(input[32:], salt)
	keys := kdf.HKDF(input[:], kdf.Zero[:], kdf.Chate2eGroupMessage.String(), 32+12+commitmentSize)
	clear(input[:])
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		panic("senderkey: " + err.Error()) // wrong length only
	}
	if aead, err = cipher.NewGCM(block); err != nil {
		panic("senderkey: " + err.Error()) // AES has the right block size
	}
	clear(keys[:32])
	return aead, keys[32:44], keys[44:]
}

// chate2eAssociated binds the sender to the header, and so to the group.
func chate2eAssociated(sender signal.Address, header []byte) []byte {
	return append(sender.Append(make([]byte, 0, 1+len(sender.Name)+4+len(header))), header...)
}

func (chate2eCodec) signed(sender signal.Address, unsigned []byte) []byte {
	return append(sender.Append([]byte(kdf.Chate2eGroupSignature.String())), unsigned...)
}

// ── libsignal ───────────────────────────────────────────────────────────────

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
