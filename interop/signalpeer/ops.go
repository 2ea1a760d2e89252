package main

import (
	"encoding/json"
	"maps"
	"runtime"
	"slices"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/safety"
	"github.com/chate2e/chate2e/signal/session"
)

// peer answers requests.
type peer struct {
	spqr    string
	suite   pqxdh.Suite // of version-4 sessions
	parties map[string]*party
	numbers map[string]*safety.Number // safety numbers made here, by their scannable form
	ops     map[string]func(line []byte) (any, error)
}

// handle makes an operation out of a function over its request and reply.
func handle[Request, Reply any](f func(Request) (Reply, error)) func([]byte) (any, error) {
	return func(line []byte) (any, error) {
		var request Request
		if err := json.Unmarshal(line, &request); err != nil {
			return nil, badRequest("%v", err)
		}
		return f(request)
	}
}

func newPeer(spqr string, suite pqxdh.Suite) *peer {
	p := &peer{spqr: spqr, suite: suite, parties: map[string]*party{}, numbers: map[string]*safety.Number{}}
	p.ops = map[string]func([]byte) (any, error){
		"hello":              handle(p.hello),
		"party":              handle(p.party),
		"forgetParty":        handle(p.forgetParty),
		"bundle":             handle(p.bundle),
		"processBundle":      handle(p.processBundle),
		"encrypt":            handle(p.encrypt),
		"decrypt":            handle(p.decrypt),
		"inspect":            handle(p.inspect),
		"session":            handle(p.session),
		"identity":           handle(p.identity),
		"prekeys":            handle(p.prekeys),
		"keygen":             handle(p.keygen),
		"publicKey":          handle(p.publicKey),
		"agree":              handle(p.agree),
		"sign":               handle(p.sign),
		"verify":             handle(p.verify),
		"fingerprint":        handle(p.fingerprint),
		"fingerprintCompare": handle(p.fingerprintCompare),

		"senderKeyDistribution": handle(p.senderKeyDistribution),
		"senderKeyProcess":      handle(p.senderKeyProcess),
		"groupEncrypt":          handle(p.groupEncrypt),
		"groupDecrypt":          handle(p.groupDecrypt),
		"serverCertificate":     handle(p.serverCertificate),
		"senderCertificate":     handle(p.senderCertificate),
		"validateCertificate":   handle(p.validateCertificate),
		"sealedEncrypt":         handle(p.sealedEncrypt),
		"sealedDecrypt":         handle(p.sealedDecrypt),
		"sealedContent":         handle(p.sealedContent),
		"sealedMulti":           handle(p.sealedMulti),
		"sealedToContent":       handle(p.sealedToContent),
		"decryptionError":       handle(p.decryptionError),
	}
	return p
}

// answer does what a line asks for, and returns the request's id as far as it could be read.
func (p *peer) answer(line []byte) (id json.RawMessage, result any, err error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(line, &fields) != nil || fields == nil {
		return nil, nil, badRequest("not a JSON object")
	}
	id = fields["id"]
	var name string
	if json.Unmarshal(fields["op"], &name) != nil {
		return id, nil, badRequest("op: a string is required")
	}
	op, ok := p.ops[name]
	if !ok {
		return id, nil, &refusal{Name: "Unsupported", Message: "no such operation"}
	}
	result, err = op(line)
	return id, result, err
}

type empty struct{}

// label names the party that a request is for.
type label struct {
	Party *string `json:"party"`
}

func (p *peer) find(l label) (*party, error) {
	if l.Party == nil {
		return nil, badRequest("party: missing")
	}
	found := p.parties[*l.Party]
	if found == nil {
		return nil, &refusal{Name: "NoSuchParty", Message: "no such party"}
	}
	return found, nil
}

// pair is a party and a remote address.
type pair struct {
	label
	Remote *address `json:"remote"`
}

func (p *peer) findPair(r pair) (*party, signal.Address, error) {
	found, err := p.find(r.label)
	if err != nil {
		return nil, signal.Address{}, err
	}
	remote, err := r.Remote.parse("remote")
	return found, remote, err
}

type helloReply struct {
	Library      string   `json:"library"`
	Version      string   `json:"version"`
	Node         *string  `json:"node"`
	Go           string   `json:"go"`
	SPQR         string   `json:"spqr"`
	LocalAddress bool     `json:"localAddress"`
	Ops          []string `json:"ops"`
}

func (p *peer) hello(empty) (helloReply, error) {
	return helloReply{
		Library: "chate2e", Version: p.suite.String(), Go: runtime.Version(), SPQR: p.spqr,
		LocalAddress: p.suite == pqxdh.LibsignalTriple, Ops: slices.Sorted(maps.Keys(p.ops)),
	}, nil
}

type partyRequest struct {
	label
	address
	RegistrationID  *uint32 `json:"registrationId"`
	IdentityPrivate blob    `json:"identityPrivate"`
}

type partyReply struct {
	Name            string `json:"name"`
	Device          uint32 `json:"device"`
	RegistrationID  uint32 `json:"registrationId"`
	IdentityKey     []byte `json:"identityKey"`
	IdentityPrivate []byte `json:"identityPrivate"`
}

// party makes a party; one that already has this label is forgotten.
func (p *peer) party(r partyRequest) (partyReply, error) {
	if r.Party == nil {
		return partyReply{}, badRequest("party: missing")
	}
	at, err := r.parse("party")
	if err != nil {
		return partyReply{}, err
	}
	if or(r.RegistrationID, 0) > maxRegistrationID {
		return partyReply{}, badRequest("registrationId: at most %d is required", maxRegistrationID)
	}
	key := curve.GenerateKey()
	if r.IdentityPrivate != nil {
		if key, err = curve.NewPrivateKey(r.IdentityPrivate); err != nil {
			return partyReply{}, err
		}
	}
	made := newParty(at, key, r.RegistrationID)
	p.parties[*r.Party] = made
	return partyReply{
		Name: at.Name, Device: at.Device, RegistrationID: made.identity.RegistrationID,
		IdentityKey: encode(key.PublicKey()), IdentityPrivate: key.Bytes(),
	}, nil
}

func encode(key curve.PublicKey) []byte {
	encoded := key.Encode()
	return encoded[:]
}

type forgetReply struct {
	Existed bool `json:"existed"`
}

func (p *peer) forgetParty(r label) (forgetReply, error) {
	if r.Party == nil {
		return forgetReply{}, badRequest("party: missing")
	}
	_, existed := p.parties[*r.Party]
	delete(p.parties, *r.Party)
	return forgetReply{Existed: existed}, nil
}

type bundleRequest struct {
	label
	PreKeyID       *pqxdh.PreKeyID `json:"preKeyId"`
	SignedPreKeyID *pqxdh.PreKeyID `json:"signedPreKeyId"`
	KyberPreKeyID  *pqxdh.PreKeyID `json:"kyberPreKeyId"`
	OneTime        *bool           `json:"oneTime"`
	Kyber          *bool           `json:"kyber"`
	LastResort     bool            `json:"lastResort"`
	WithPrivate    bool            `json:"withPrivate"`
}

type bundle struct {
	RegistrationID        uint32          `json:"registrationId"`
	Device                *uint32         `json:"device"`
	IdentityKey           blob            `json:"identityKey"`
	PreKeyID              *pqxdh.PreKeyID `json:"preKeyId"`
	PreKey                blob            `json:"preKey"`
	SignedPreKeyID        *pqxdh.PreKeyID `json:"signedPreKeyId"`
	SignedPreKey          blob            `json:"signedPreKey"`
	SignedPreKeySignature blob            `json:"signedPreKeySignature"`
	KyberPreKeyID         *pqxdh.PreKeyID `json:"kyberPreKeyId"`
	KyberPreKey           blob            `json:"kyberPreKey"`
	KyberPreKeySignature  blob            `json:"kyberPreKeySignature"`

	IdentityPrivate     blob `json:"identityPrivate,omitempty"`
	PreKeyPrivate       blob `json:"preKeyPrivate,omitempty"`
	SignedPreKeyPrivate blob `json:"signedPreKeyPrivate,omitempty"`
	KyberPreKeySecret   blob `json:"kyberPreKeySecret,omitempty"`
}

type bundleReply struct {
	Bundle bundle `json:"bundle"`
}

// bundle offers prekeys. An ID names one key: a key that is still there is offered again.
func (p *peer) bundle(r bundleRequest) (bundleReply, error) {
	owner, err := p.find(r.label)
	if err != nil {
		return bundleReply{}, err
	}
	b := bundle{
		RegistrationID: owner.identity.RegistrationID, Device: &owner.identity.Address.Device,
		IdentityKey: encode(owner.identity.Key.PublicKey()),
	}
	signedID := or(r.SignedPreKeyID, 1)
	signed := owner.signed[signedID]
	if signed == nil {
		if signed, err = pqxdh.NewSignedPreKey(p.suite, &owner.identity, now(nil)); err != nil {
			return bundleReply{}, err
		}
		signed.ID = signedID // which the signature does not cover in this suite
		owner.signed[signedID] = signed
	}
	b.SignedPreKeyID, b.SignedPreKey, b.SignedPreKeySignature = &signed.ID, encode(signed.Key), signed.Signature
	if r.WithPrivate {
		b.IdentityPrivate, b.SignedPreKeyPrivate = owner.identity.Key.Bytes(), signed.Private.Bytes()
	}
	if or(r.OneTime, true) {
		id := or(r.PreKeyID, 1)
		key := owner.oneTime[id]
		if key == nil {
			key = pqxdh.NewOneTimePreKey()
			key.ID = id
			owner.oneTime[id] = key
		}
		b.PreKeyID, b.PreKey = &key.ID, encode(key.Key)
		if r.WithPrivate {
			b.PreKeyPrivate = key.Private.Bytes()
		}
	}
	if or(r.Kyber, true) {
		id := or(r.KyberPreKeyID, 1)
		key := owner.kem[id]
		if key == nil {
			if key, err = pqxdh.NewKEMPreKey(p.suite, &owner.identity, r.LastResort, now(nil)); err != nil {
				return bundleReply{}, err
			}
			key.ID = id // as above
			owner.kem[id] = key
		}
		key.LastResort = key.LastResort || r.LastResort
		b.KyberPreKeyID, b.KyberPreKey, b.KyberPreKeySignature = &key.ID, key.Key.Encode(), key.Signature
		if r.WithPrivate {
			b.KyberPreKeySecret = key.Private.Seed()
		}
	}
	return bundleReply{b}, nil
}

// parse reads a bundle and says which suite it is for: X3DH's if there is no KEM prekey.
func (p *peer) parse(b *bundle) (*pqxdh.Bundle, pqxdh.Suite, error) {
	if err := require(map[string]blob{
		"identityKey": b.IdentityKey, "signedPreKey": b.SignedPreKey, "signedPreKeySignature": b.SignedPreKeySignature,
	}); err != nil {
		return nil, 0, err
	}
	if b.SignedPreKeyID == nil {
		return nil, 0, badRequest("signedPreKeyId: missing")
	}
	if (b.PreKey == nil) != (b.PreKeyID == nil) || (b.KyberPreKey == nil) != (b.KyberPreKeyID == nil) {
		return nil, 0, badRequest("a prekey and its id: both or neither")
	}
	parsed := &pqxdh.Bundle{RegistrationID: b.RegistrationID}
	var err error
	if parsed.IdentityKey, err = curve.ParsePublicKey(b.IdentityKey); err != nil {
		return nil, 0, err
	}
	key, err := curve.ParsePublicKey(b.SignedPreKey)
	if err != nil {
		return nil, 0, err
	}
	parsed.SignedPreKey = pqxdh.SignedPreKey{ID: *b.SignedPreKeyID, Key: key, Signature: b.SignedPreKeySignature}
	if b.PreKey != nil {
		if key, err = curve.ParsePublicKey(b.PreKey); err != nil {
			return nil, 0, err
		}
		parsed.OneTimePreKey = &pqxdh.OneTimePreKey{ID: *b.PreKeyID, Key: key}
	}
	if b.KyberPreKey == nil {
		return parsed, pqxdh.LibsignalX3DH, nil
	}
	encapsulation, err := kem.ParsePublicKey(b.KyberPreKey)
	if err != nil {
		return nil, 0, err
	}
	parsed.KEMPreKey = &pqxdh.KEMPreKey{ID: *b.KyberPreKeyID, Key: encapsulation, Signature: b.KyberPreKeySignature}
	return parsed, p.suite, nil
}

type processBundleRequest struct {
	pair
	Bundle *bundle `json:"bundle"`
	Now    *int64  `json:"now"`
}

func (p *peer) processBundle(r processBundleRequest) (empty, error) {
	owner, remote, err := p.findPair(r.pair)
	if err != nil {
		return empty{}, err
	}
	if r.Bundle == nil {
		return empty{}, badRequest("bundle: missing")
	}
	parsed, suite, err := p.parse(r.Bundle)
	if err != nil {
		return empty{}, err
	}
	record, err := owner.record(suite, remote, &parsed.IdentityKey)
	if err != nil {
		return empty{}, err
	}
	if _, err := record.Initiate(&owner.identity, parsed, now(r.Now)); err != nil {
		return empty{}, err
	}
	owner.use(remote, record)
	owner.registrations[remote] = parsed.RegistrationID
	return empty{}, nil
}

type encryptRequest struct {
	pair
	Plaintext blob   `json:"plaintext"`
	Now       *int64 `json:"now"`
}

type encryptReply struct {
	Type    session.Type `json:"type"`
	Message []byte       `json:"message"`
	Bytes   int          `json:"bytes"`
	Fields  *fields      `json:"fields"`
}

func (p *peer) encrypt(r encryptRequest) (encryptReply, error) {
	owner, remote, err := p.findPair(r.pair)
	if err != nil {
		return encryptReply{}, err
	}
	if err = r.Plaintext.require("plaintext"); err != nil {
		return encryptReply{}, err
	}
	record := owner.sessions[remote].current()
	if record == nil {
		return encryptReply{}, session.ErrNoSession
	}
	sealed, err := record.Encrypt(r.Plaintext, now(r.Now))
	if err != nil {
		return encryptReply{}, err
	}
	f, err := parseFields(sealed.Type, sealed.Bytes)
	return encryptReply{Type: sealed.Type, Message: sealed.Bytes, Bytes: len(sealed.Bytes), Fields: f}, err
}

type decryptRequest struct {
	pair
	messageRequest
}

type decryptReply struct {
	Plaintext blob `json:"plaintext"`
}

func (p *peer) decrypt(r decryptRequest) (decryptReply, error) {
	owner, remote, err := p.findPair(r.pair)
	if err != nil {
		return decryptReply{}, err
	}
	if err = r.check(); err != nil {
		return decryptReply{}, err
	}
	return p.open(owner, remote, r.messageRequest)
}

// open opens a message of a session.
func (p *peer) open(owner *party, remote signal.Address, r messageRequest) (decryptReply, error) {
	suite, err := p.suiteOf(r.Message)
	if err != nil {
		return decryptReply{}, err
	}
	message, err := session.ParseLibsignal(suite, r.Type, r.Message)
	if err != nil {
		return decryptReply{}, err
	}
	var met *curve.PublicKey
	h := message.Handshake()
	if h != nil {
		met = &h.IdentityKey
	}
	record, err := owner.record(suite, remote, met)
	if err != nil {
		return decryptReply{}, err
	}
	opened, err := record.Decrypt(message, &owner.identity, owner.preKeys(h), now(nil))
	if err != nil {
		return decryptReply{}, err
	}
	owner.consume(opened.Used)
	owner.use(remote, record)
	if h != nil {
		owner.registrations[remote] = h.RegistrationID
	}
	return decryptReply{append([]byte{}, opened.Plaintext...)}, nil
}

// suiteOf returns the suite of a message by its session version, the high half of the first byte.
func (p *peer) suiteOf(message []byte) (pqxdh.Suite, error) {
	if len(message) == 0 {
		return 0, session.ErrMalformed
	}
	switch message[0] >> 4 {
	case 3:
		return pqxdh.LibsignalX3DH, nil
	case 4:
		return p.suite, nil
	default:
		return 0, session.ErrSuite
	}
}

type inspectReply struct {
	Fields *fields `json:"fields"`
}

func (p *peer) inspect(r messageRequest) (inspectReply, error) {
	if err := r.check(); err != nil {
		return inspectReply{}, err
	}
	f, err := parseFields(r.Type, r.Message)
	return inspectReply{f}, err
}

type sessionRequest struct {
	pair
	Archive bool `json:"archive"`
	Del     bool `json:"del"`
	Set     blob `json:"set"`
}

type sessionReply struct {
	Exists     bool   `json:"exists"`
	HasCurrent bool   `json:"hasCurrent"`
	Bytes      int    `json:"bytes"`
	Record     []byte `json:"record"`
}

// session does what is asked for in the order del, set, archive, and describes what is there then.
func (p *peer) session(r sessionRequest) (sessionReply, error) {
	owner, remote, err := p.findPair(r.pair)
	if err != nil {
		return sessionReply{}, err
	}
	var given *sessions
	if r.Set != nil {
		if given, err = owner.parseSessions(remote, r.Set); err != nil {
			return sessionReply{}, err
		}
	}
	if r.Del {
		delete(owner.sessions, remote)
	}
	if given != nil {
		owner.sessions[remote] = given
	}
	s := owner.sessions[remote]
	if s == nil {
		return sessionReply{}, nil
	}
	if r.Archive {
		for _, record := range s.records {
			record.Archive()
		}
	}
	encoded := s.appendTo(nil)
	return sessionReply{Exists: true, HasCurrent: s.current().InUse(), Bytes: len(encoded), Record: encoded}, nil
}

type identityRequest struct {
	pair
	Trust  blob  `json:"trust"`
	Strict *bool `json:"strict"`
}

type identityReply struct {
	IdentityKey []byte `json:"identityKey"`
}

func (p *peer) identity(r identityRequest) (identityReply, error) {
	owner, remote, err := p.findPair(r.pair)
	if err != nil {
		return identityReply{}, err
	}
	if r.Trust != nil {
		key, err := curve.ParsePublicKey(r.Trust)
		if err != nil {
			return identityReply{}, err
		}
		owner.trust(remote, key)
	}
	if r.Strict != nil {
		owner.lenient[remote] = !*r.Strict
	}
	key, ok := owner.known[remote]
	if !ok {
		return identityReply{}, nil
	}
	return identityReply{encode(key)}, nil
}

type prekeysReply struct {
	OneTime   []pqxdh.PreKeyID `json:"oneTime"`
	Signed    []pqxdh.PreKeyID `json:"signed"`
	Kyber     []pqxdh.PreKeyID `json:"kyber"`
	KyberUsed []pqxdh.PreKeyID `json:"kyberUsed"`
}

func (p *peer) prekeys(r label) (prekeysReply, error) {
	owner, err := p.find(r)
	if err != nil {
		return prekeysReply{}, err
	}
	return prekeysReply{
		OneTime: ids(owner.oneTime), Signed: ids(owner.signed), Kyber: ids(owner.kem),
		KyberUsed: append([]pqxdh.PreKeyID{}, owner.kemUsed...),
	}, nil
}

func ids[K any](keys map[pqxdh.PreKeyID]K) []pqxdh.PreKeyID {
	return slices.AppendSeq([]pqxdh.PreKeyID{}, slices.Values(slices.Sorted(maps.Keys(keys))))
}

type keysRequest struct {
	label
	Private   blob `json:"private"`
	Public    blob `json:"public"`
	Message   blob `json:"message"`
	Signature blob `json:"signature"`
}

type keysReply struct {
	Private []byte `json:"private,omitempty"`
	Public  []byte `json:"public"`
}

func (p *peer) keygen(empty) (keysReply, error) {
	key := curve.GenerateKey()
	return keysReply{Private: key.Bytes(), Public: encode(key.PublicKey())}, nil
}

func (p *peer) publicKey(r keysRequest) (keysReply, error) {
	key, err := r.Private.privateKey("private")
	if err != nil {
		return keysReply{}, err
	}
	return keysReply{Public: encode(key.PublicKey())}, nil
}

type agreeReply struct {
	Shared []byte `json:"shared"`
}

func (p *peer) agree(r keysRequest) (agreeReply, error) {
	our, err := r.Private.privateKey("private")
	if err != nil {
		return agreeReply{}, err
	}
	their, err := r.Public.publicKey("public")
	if err != nil {
		return agreeReply{}, err
	}
	shared, err := our.ECDH(their)
	if err != nil {
		return agreeReply{}, err
	}
	return agreeReply{shared.Bytes()}, nil
}

type signReply struct {
	Signature []byte `json:"signature"`
}

func (p *peer) sign(r keysRequest) (signReply, error) {
	var key *curve.PrivateKey
	if r.Private != nil {
		var err error
		if key, err = curve.NewPrivateKey(r.Private); err != nil {
			return signReply{}, err
		}
	} else {
		owner, err := p.find(r.label)
		if err != nil {
			return signReply{}, err
		}
		key = owner.identity.Key
	}
	if err := r.Message.require("message"); err != nil {
		return signReply{}, err
	}
	return signReply{key.Sign(r.Message)}, nil
}

type verifyReply struct {
	Valid bool `json:"valid"`
}

func (p *peer) verify(r keysRequest) (verifyReply, error) {
	key, err := r.Public.publicKey("public")
	if err != nil {
		return verifyReply{}, err
	}
	if err := require(map[string]blob{"message": r.Message, "signature": r.Signature}); err != nil {
		return verifyReply{}, err
	}
	return verifyReply{key.Verify(r.Message, r.Signature)}, nil
}

type fingerprintRequest struct {
	Iterations *int    `json:"iterations"`
	Version    *uint32 `json:"version"`
	LocalID    blob    `json:"localId"`
	LocalKey   blob    `json:"localKey"`
	RemoteID   blob    `json:"remoteId"`
	RemoteKey  blob    `json:"remoteKey"`
}

type fingerprintReply struct {
	Display   string `json:"display"`
	Scannable []byte `json:"scannable"`
}

func (p *peer) fingerprint(r fingerprintRequest) (fingerprintReply, error) {
	if err := require(map[string]blob{"localId": r.LocalID, "remoteId": r.RemoteID}); err != nil {
		return fingerprintReply{}, err
	}
	local, err := r.LocalKey.publicKey("localKey")
	if err != nil {
		return fingerprintReply{}, err
	}
	remote, err := r.RemoteKey.publicKey("remoteKey")
	if err != nil {
		return fingerprintReply{}, err
	}
	number, err := safety.New(
		safety.Party{ID: r.LocalID, Key: encode(local)},
		safety.Party{ID: r.RemoteID, Key: encode(remote)},
		safety.Config{Iterations: or(r.Iterations, safety.DefaultIterations), Version: or(r.Version, safety.DefaultVersion)})
	if err != nil {
		return fingerprintReply{}, err
	}
	scannable := number.Scannable()
	p.numbers[string(scannable)] = number
	return fingerprintReply{Display: number.String(), Scannable: scannable}, nil
}

type compareRequest struct {
	A blob `json:"a"`
	B blob `json:"b"`
}

type compareReply struct {
	Same bool `json:"same"`
}

// fingerprintCompare compares a scannable code that was made here with any other: the library compares
// codes with numbers, not with codes.
func (p *peer) fingerprintCompare(r compareRequest) (compareReply, error) {
	if err := require(map[string]blob{"a": r.A, "b": r.B}); err != nil {
		return compareReply{}, err
	}
	ours, theirs := p.numbers[string(r.A)], r.B
	if ours == nil {
		ours, theirs = p.numbers[string(r.B)], r.A
	}
	if ours == nil {
		return compareReply{}, &refusal{Name: "InvalidFingerprint", Message: "neither code was made here"}
	}
	same, err := ours.Compare(theirs)
	return compareReply{same}, err
}
