package main

import (
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/sealed"
	"github.com/chate2e/chate2e/signal/senderkey"
)

// chain names what a device sends in a group.
type chain struct {
	sender signal.Address
	group  senderkey.GroupID
}

// typeGroup is the official library's number for messages to groups.
const typeGroup = sealed.TypeGroup

// groupRequest is a party and a group.
type groupRequest struct {
	label
	DistributionID *string `json:"distributionId"`
}

func (p *peer) findGroup(r groupRequest) (*party, senderkey.GroupID, error) {
	found, err := p.find(r.label)
	if err != nil {
		return nil, senderkey.GroupID{}, err
	}
	group, err := parseGroup(r.DistributionID)
	return found, group, err
}

func parseGroup(distributionID *string) (senderkey.GroupID, error) {
	if distributionID == nil {
		return senderkey.GroupID{}, badRequest("distributionId: missing")
	}
	id, err := sealed.ParseServiceID(*distributionID)
	if err != nil || id[0] != 0 {
		return senderkey.GroupID{}, badRequest("distributionId: a UUID is required")
	}
	return senderkey.GroupID(id[1:]), nil
}

type distributionReply struct {
	Message   []byte `json:"message"`
	ChainID   uint32 `json:"chainId"`
	Iteration uint32 `json:"iteration"`
}

// senderKeyDistribution tells of the party's chain in a group, and makes it if there is none.
func (p *peer) senderKeyDistribution(r groupRequest) (distributionReply, error) {
	owner, group, err := p.findGroup(r)
	if err != nil {
		return distributionReply{}, err
	}
	sender := owner.senders[group]
	if sender == nil {
		if sender, err = senderkey.NewSender(senderkey.Libsignal, group, owner.identity.Address); err != nil {
			return distributionReply{}, err
		}
		owner.senders[group] = sender
	}
	return distributionReply{Message: sender.Distribution(), ChainID: sender.ChainID(), Iteration: sender.Iteration()}, nil
}

type fromRequest struct {
	label
	Sender  *address `json:"sender"`
	Message blob     `json:"message"`
}

func (p *peer) findFrom(r fromRequest) (*party, signal.Address, error) {
	found, err := p.find(r.label)
	if err != nil {
		return nil, signal.Address{}, err
	}
	if err = r.Message.require("message"); err != nil {
		return nil, signal.Address{}, err
	}
	sender, err := r.Sender.parse("sender")
	return found, sender, err
}

func (p *peer) senderKeyProcess(r fromRequest) (empty, error) {
	owner, sender, err := p.findFrom(r)
	if err != nil {
		return empty{}, err
	}
	group, err := groupOf(r.Message)
	if err != nil {
		return empty{}, err
	}
	of := chain{sender, group}
	receiver := owner.receivers[of]
	if receiver == nil {
		if receiver, err = senderkey.NewReceiver(senderkey.Libsignal, group, sender); err != nil {
			return empty{}, err
		}
	}
	if err := receiver.Process(r.Message); err != nil {
		return empty{}, err
	}
	owner.receivers[of] = receiver
	return empty{}, nil
}

// groupOf reads the group out of a distribution message.
func groupOf(distribution []byte) (senderkey.GroupID, error) {
	fields, ok := readProtobuf(distribution, 0)
	if !ok || len(fields.data[1]) != len(senderkey.GroupID{}) {
		return senderkey.GroupID{}, senderkey.ErrMalformed
	}
	return senderkey.GroupID(fields.data[1]), nil
}

type groupEncryptRequest struct {
	groupRequest
	Plaintext blob `json:"plaintext"`
}

type groupEncryptReply struct {
	Type    sealed.Type `json:"type"`
	Message []byte      `json:"message"`
}

func (p *peer) groupEncrypt(r groupEncryptRequest) (groupEncryptReply, error) {
	owner, group, err := p.findGroup(r.groupRequest)
	if err != nil {
		return groupEncryptReply{}, err
	}
	if err = r.Plaintext.require("plaintext"); err != nil {
		return groupEncryptReply{}, err
	}
	message, err := owner.encryptGroup(group, r.Plaintext)
	return groupEncryptReply{Type: typeGroup, Message: message}, err
}

func (p *party) encryptGroup(group senderkey.GroupID, plaintext []byte) ([]byte, error) {
	sender := p.senders[group]
	if sender == nil {
		return nil, senderkey.ErrNoChain
	}
	return sender.Encrypt(plaintext)
}

func (p *peer) groupDecrypt(r fromRequest) (decryptReply, error) {
	owner, sender, err := p.findFrom(r)
	if err != nil {
		return decryptReply{}, err
	}
	message, err := senderkey.Parse(senderkey.Libsignal, r.Message)
	if err != nil {
		return decryptReply{}, err
	}
	receiver := owner.receivers[chain{sender, message.Group()}]
	if receiver == nil {
		return decryptReply{}, senderkey.ErrNoChain
	}
	plaintext, err := receiver.Decrypt(message)
	return decryptReply{append([]byte{}, plaintext...)}, err
}
