package main

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/sealed"
	"github.com/chate2e/chate2e/signal/session"
)

type certificateReply struct {
	Certificate []byte `json:"certificate"`
}

type serverCertificateRequest struct {
	KeyID            uint32 `json:"keyId"`
	ServerKey        blob   `json:"serverKey"`
	TrustRootPrivate blob   `json:"trustRootPrivate"`
}

func (p *peer) serverCertificate(r serverCertificateRequest) (certificateReply, error) {
	key, err := r.ServerKey.publicKey("serverKey")
	if err != nil {
		return certificateReply{}, err
	}
	root, err := r.TrustRootPrivate.privateKey("trustRootPrivate")
	if err != nil {
		return certificateReply{}, err
	}
	return certificateReply{sealed.NewServerCertificate(r.KeyID, key, root).Bytes()}, nil
}

type senderCertificateRequest struct {
	UUID              *string `json:"uuid"`
	Device            *uint32 `json:"device"`
	IdentityKey       blob    `json:"identityKey"`
	Expiration        *int64  `json:"expiration"`
	ServerCertificate blob    `json:"serverCertificate"`
	ServerPrivate     blob    `json:"serverPrivate"`
}

func (p *peer) senderCertificate(r senderCertificateRequest) (certificateReply, error) {
	sender, err := (&address{r.UUID, r.Device}).parse("uuid")
	if err != nil {
		return certificateReply{}, err
	}
	key, err := r.IdentityKey.publicKey("identityKey")
	if err != nil {
		return certificateReply{}, err
	}
	serverKey, err := r.ServerPrivate.privateKey("serverPrivate")
	if err != nil {
		return certificateReply{}, err
	}
	if r.Expiration == nil || r.ServerCertificate == nil {
		return certificateReply{}, badRequest("expiration, serverCertificate: missing")
	}
	server, err := sealed.ParseServerCertificate(r.ServerCertificate)
	if err != nil {
		return certificateReply{}, err
	}
	made, err := sealed.NewSenderCertificate(sender, key, time.UnixMilli(*r.Expiration), server, serverKey)
	if err != nil {
		return certificateReply{}, err
	}
	return certificateReply{made.Bytes()}, nil
}

// trustRequest says whom to believe, and when.
type trustRequest struct {
	TrustRoot blob   `json:"trustRoot"`
	Time      *int64 `json:"time"`
}

func (r trustRequest) parse() (*sealed.Trust, time.Time, error) {
	root, err := r.TrustRoot.publicKey("trustRoot")
	if err != nil {
		return nil, time.Time{}, err
	}
	if r.Time == nil {
		return nil, time.Time{}, badRequest("time: missing")
	}
	return &sealed.Trust{Roots: []curve.PublicKey{root}}, time.UnixMilli(*r.Time), nil
}

type validateRequest struct {
	trustRequest
	Certificate blob `json:"certificate"`
}

type validReply struct {
	Valid bool `json:"valid"`
}

func (p *peer) validateCertificate(r validateRequest) (validReply, error) {
	trust, at, err := r.parse()
	if err != nil {
		return validReply{}, err
	}
	certificate, err := parseCertificate("certificate", r.Certificate)
	if err != nil {
		return validReply{}, err
	}
	return validReply{trust.Verify(certificate, at) == nil}, nil
}

func parseCertificate(field string, b blob) (*sealed.SenderCertificate, error) {
	if err := b.require(field); err != nil {
		return nil, err
	}
	return sealed.ParseSenderCertificate(b)
}

type sealedEncryptRequest struct {
	encryptRequest
	SenderCertificate blob `json:"senderCertificate"`
}

type sealedReply struct {
	Message []byte `json:"message"`
}

// sealedEncrypt encrypts in the session with the remote and seals the message in version 1.
func (p *peer) sealedEncrypt(r sealedEncryptRequest) (sealedReply, error) {
	owner, remote, err := p.findPair(r.pair)
	if err != nil {
		return sealedReply{}, err
	}
	certificate, err := parseCertificate("senderCertificate", r.SenderCertificate)
	if err != nil {
		return sealedReply{}, err
	}
	message, err := p.encrypt(r.encryptRequest)
	if err != nil {
		return sealedReply{}, err
	}
	content := &sealed.Content{Type: sealed.Type(message.Type), Sender: certificate, Message: message.Message}
	b, err := sealed.SealV1(owner.identity.Key, owner.known[remote], content)
	return sealedReply{b}, err
}

type sealedDecryptRequest struct {
	label
	trustRequest
	Message blob `json:"message"`
}

type sealedDecryptReply struct {
	decryptReply
	SenderUUID   string `json:"senderUuid"`
	SenderDevice uint32 `json:"senderDevice"`
}

// sealedDecrypt opens a sealed message of version 1 and what is inside, a message of a session.
func (p *peer) sealedDecrypt(r sealedDecryptRequest) (sealedDecryptReply, error) {
	owner, unsealed, err := p.unseal(r.label, r.Message)
	if err != nil {
		return sealedDecryptReply{}, err
	}
	trust, at, err := r.parse()
	if err != nil {
		return sealedDecryptReply{}, err
	}
	content, err := unsealed.Verify(trust, owner.identity.Address, at)
	if err != nil {
		return sealedDecryptReply{}, err
	}
	from := content.Sender.Sender
	inside := messageRequest{Type: session.Type(content.Type), Message: content.Message}
	if err = inside.check(); err != nil {
		return sealedDecryptReply{}, session.ErrMalformed
	}
	opened, err := p.open(owner, from, inside)
	return sealedDecryptReply{opened, from.Name, from.Device}, err
}

func (p *peer) unseal(l label, message blob) (*party, *sealed.Unverified, error) {
	owner, err := p.find(l)
	if err != nil {
		return nil, nil, err
	}
	if err = message.require("message"); err != nil {
		return nil, nil, err
	}
	unsealed, err := sealed.Unseal(owner.identity.Key, message)
	return owner, unsealed, err
}

type sealedContentRequest struct {
	encryptRequest
	DistributionID    *string     `json:"distributionId"`
	SenderCertificate blob        `json:"senderCertificate"`
	ContentHint       sealed.Hint `json:"contentHint"`
	GroupID           blob        `json:"groupId"`
}

type sealedContentReply struct {
	Content []byte      `json:"content"`
	Type    sealed.Type `json:"type"`
}

// sealedContent encrypts for a remote or, without one, for a group, and returns what can be sealed.
func (p *peer) sealedContent(r sealedContentRequest) (sealedContentReply, error) {
	owner, err := p.find(r.label)
	if err != nil {
		return sealedContentReply{}, err
	}
	content := &sealed.Content{Type: typeGroup, Hint: r.ContentHint, Group: r.GroupID}
	if content.Sender, err = parseCertificate("senderCertificate", r.SenderCertificate); err != nil {
		return sealedContentReply{}, err
	}
	if r.Remote != nil {
		message, err := p.encrypt(r.encryptRequest)
		if err != nil {
			return sealedContentReply{}, err
		}
		content.Type, content.Message = sealed.Type(message.Type), message.Message
	} else {
		group, err := parseGroup(r.DistributionID)
		if err != nil {
			return sealedContentReply{}, err
		}
		if err = r.Plaintext.require("plaintext"); err != nil {
			return sealedContentReply{}, err
		}
		if content.Message, err = owner.encryptGroup(group, r.Plaintext); err != nil {
			return sealedContentReply{}, err
		}
	}
	b, err := content.Append(nil)
	return sealedContentReply{b, content.Type}, err
}

type sealedMultiRequest struct {
	label
	Recipients []*address `json:"recipients"`
	Content    blob       `json:"content"`
}

type sealedMultiReply struct {
	Message      []byte            `json:"message"`
	Bytes        int               `json:"bytes"`
	PerRecipient map[string][]byte `json:"perRecipient"`
}

// sealedMulti seals content for many devices at once, in version 2.
func (p *peer) sealedMulti(r sealedMultiRequest) (sealedMultiReply, error) {
	owner, err := p.find(r.label)
	if err != nil {
		return sealedMultiReply{}, err
	}
	if err = r.Content.require("content"); err != nil {
		return sealedMultiReply{}, err
	}
	content, err := sealed.ParseContent(r.Content)
	if err != nil {
		return sealedMultiReply{}, err
	}
	recipients, err := owner.recipients(r.Recipients)
	if err != nil {
		return sealedMultiReply{}, err
	}
	message, err := sealed.SealV2(owner.identity.Key, content, recipients, nil)
	if err != nil {
		return sealedMultiReply{}, err
	}
	sent, err := sealed.ParseSent(message)
	if err != nil {
		return sealedMultiReply{}, err
	}
	reply := sealedMultiReply{Message: message, Bytes: len(message), PerRecipient: map[string][]byte{}}
	for i := range sent.Recipients {
		to := &sent.Recipients[i]
		reply.PerRecipient[to.ID.String()] = sent.For(to)
	}
	return reply, nil
}

// recipients gathers the devices of each account.
func (p *party) recipients(addresses []*address) ([]sealed.Recipient, error) {
	var all []sealed.Recipient
	at := map[sealed.ServiceID]int{}
	for _, a := range addresses {
		to, err := a.parse("recipients")
		if err != nil {
			return nil, err
		}
		id, err := sealed.ParseServiceID(to.Name)
		if err != nil {
			return nil, err
		}
		identity, known := p.known[to]
		if !known {
			return nil, session.ErrNoSession
		}
		if _, listed := at[id]; !listed {
			at[id] = len(all)
			all = append(all, sealed.Recipient{ID: id, Identity: identity})
		}
		recipient := &all[at[id]]
		recipient.Devices = append(recipient.Devices, sealed.Device{
			ID:           uint8(to.Device),            //nolint:gosec // at most maxDevice
			Registration: uint16(p.registrations[to]), //nolint:gosec // at most maxRegistrationID
		})
	}
	return all, nil
}

type sealedToContentRequest struct {
	label
	Message blob `json:"message"`
}

type sealedToContentReply struct {
	Type         sealed.Type `json:"type"`
	Contents     []byte      `json:"contents"`
	ContentHint  sealed.Hint `json:"contentHint"`
	GroupID      []byte      `json:"groupId"`
	SenderUUID   string      `json:"senderUuid"`
	SenderDevice uint32      `json:"senderDevice"`
	SenderKey    []byte      `json:"senderKey"`
}

// sealedToContent unseals a message and shows what it claims.
func (p *peer) sealedToContent(r sealedToContentRequest) (sealedToContentReply, error) {
	_, unsealed, err := p.unseal(r.label, r.Message)
	if err != nil {
		return sealedToContentReply{}, err
	}
	content := unsealed.Claims()
	return sealedToContentReply{
		Type: content.Type, Contents: content.Message, ContentHint: content.Hint, GroupID: content.Group,
		SenderUUID: content.Sender.Sender.Name, SenderDevice: content.Sender.Sender.Device, SenderKey: encode(content.Sender.Key),
	}, nil
}

type decryptionErrorRequest struct {
	Original  blob         `json:"original"`
	Type      session.Type `json:"type"`
	Timestamp uint64       `json:"timestamp"`
	Device    uint32       `json:"device"`
}

// decryptionError makes the complaint about a message of a session that could not be opened.
func (p *peer) decryptionError(r decryptionErrorRequest) (sealedReply, error) {
	original := messageRequest{Type: r.Type, Message: r.Original}
	if err := original.check(); err != nil {
		return sealedReply{}, err
	}
	f, err := parseFields(original.Type, original.Message)
	if err != nil {
		return sealedReply{}, err
	}
	const ratchetKey, timestamp, device = 1, 2, 3
	b := protowire.AppendTag(nil, ratchetKey, protowire.BytesType)
	b = protowire.AppendBytes(b, f.RatchetKey)
	b = protowire.AppendTag(b, timestamp, protowire.VarintType)
	b = protowire.AppendVarint(b, r.Timestamp)
	b = protowire.AppendTag(b, device, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(r.Device))
	return sealedReply{b}, nil
}
