package senderkey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/kdf"
)

// The messages of chate2e/v1 (docs/PROTOCOL.md, Groups).
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
