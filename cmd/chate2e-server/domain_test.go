package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/chate2e/chate2e/internal/relayclient"
)

// authority is a certificate authority that speaks as much of ACME (RFC 8555) as it
// takes for one name: it connects to the relay and checks the answer to its challenge
// (RFC 8737) before it signs anything.
type authority struct {
	t       *testing.T
	key     *ecdsa.PrivateKey
	root    *x509.Certificate
	relay   string // where it connects
	server  *httptest.Server
	refuses bool

	mu         sync.Mutex
	thumbprint string // of the account's key
	token      string
	proved     bool
	leaf       []byte
	orders     int
}

func newAuthority(t *testing.T, relayAddress string) *authority {
	t.Helper()
	a := &authority{t: t, relay: relayAddress, token: "token-of-the-challenge"}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for path, handle := range map[string]func(r *http.Request, payload []byte) (any, error){
		"/directory":     a.directory,
		"/nonce":         func(*http.Request, []byte) (any, error) { return struct{}{}, nil },
		"/account":       a.account,
		"/order":         a.order,
		"/order/1":       func(*http.Request, []byte) (any, error) { return a.state(), nil },
		"/authorization": a.authorization,
		"/challenge":     a.challenge,
		"/finalize":      a.finalize,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			a.mu.Lock()
			defer a.mu.Unlock()
			w.Header().Set("Replay-Nonce", "nonce")
			var (
				signed struct{ Protected, Payload string }
				answer any
			)
			if r.Method == http.MethodPost {
				if err := json.NewDecoder(r.Body).Decode(&signed); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
			payload, err := base64.RawURLEncoding.DecodeString(signed.Payload)
			if path == "/account" { // needs to know who signed
				payload, err = base64.RawURLEncoding.DecodeString(signed.Protected)
			}
			if err == nil {
				answer, err = handle(r, payload)
			}
			if err != nil {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusForbidden)
				answer = map[string]string{"type": "urn:ietf:params:acme:error:unauthorized", "detail": err.Error()}
			} else if path == "/account" || path == "/order" {
				w.Header().Set("Location", a.server.URL+path+"/1")
				w.WriteHeader(http.StatusCreated)
			}
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	mux.HandleFunc("/certificate", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		w.Header().Set("Replay-Nonce", "nonce")
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: a.leaf})
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
	})
	a.server = httptest.NewServer(mux)
	t.Cleanup(a.server.Close)
	return a
}

func (a *authority) refuse(refuses bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuses = refuses
}

func (a *authority) directory(*http.Request, []byte) (any, error) {
	return map[string]string{"newNonce": a.server.URL + "/nonce", "newAccount": a.server.URL + "/account", "newOrder": a.server.URL + "/order"}, nil
}

func (a *authority) account(_ *http.Request, protected []byte) (any, error) {
	var header struct {
		JWK struct{ X, Y string }
	}
	if err := json.Unmarshal(protected, &header); err != nil {
		return nil, err
	}
	point := []byte{4}
	for _, coordinate := range []string{header.JWK.X, header.JWK.Y} {
		b, err := base64.RawURLEncoding.DecodeString(coordinate)
		if err != nil {
			return nil, err
		}
		point = append(point, b...)
	}
	var (
		key crypto.PublicKey
		err error
	)
	if key, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point); err != nil {
		return nil, err
	}
	a.thumbprint, err = acme.JWKThumbprint(key)
	return map[string]string{"status": "valid"}, err
}

// state is the order as it stands.
func (a *authority) state() any {
	order := map[string]any{
		"status": "pending", "authorizations": []string{a.server.URL + "/authorization"}, "finalize": a.server.URL + "/finalize",
		"identifiers": []map[string]string{{"type": "dns", "value": "chat.example.org"}},
	}
	switch {
	case a.leaf != nil:
		order["status"], order["certificate"] = "valid", a.server.URL+"/certificate"
	case a.proved:
		order["status"] = "ready"
	}
	return order
}

func (a *authority) order(_ *http.Request, payload []byte) (any, error) {
	var order struct{ Identifiers []struct{ Value string } }
	if err := json.Unmarshal(payload, &order); err != nil {
		return nil, err
	}
	a.orders++
	if a.refuses || len(order.Identifiers) != 1 || order.Identifiers[0].Value != "chat.example.org" {
		return nil, errors.New("not for this name")
	}
	a.proved, a.leaf = false, nil
	return a.state(), nil
}

func (a *authority) authorization(*http.Request, []byte) (any, error) {
	status := "pending"
	if a.proved {
		status = "valid"
	}
	return map[string]any{
		"status": status, "identifier": map[string]string{"type": "dns", "value": "chat.example.org"},
		"challenges": []map[string]string{{"type": "tls-alpn-01", "url": a.server.URL + "/challenge", "token": a.token, "status": status}},
	}, nil
}

// challenge connects to the relay as RFC 8737, Section 3, says.
func (a *authority) challenge(r *http.Request, _ []byte) (any, error) {
	// The certificate is the answer to the challenge, and need not be good for more.
	dialer := tls.Dialer{Config: &tls.Config{
		ServerName: "chat.example.org", NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true,
	}}
	raw, err := dialer.DialContext(r.Context(), "tcp", a.relay)
	if err != nil {
		return nil, err
	}
	defer func() { _ = raw.Close() }()
	state := raw.(*tls.Conn).ConnectionState()
	if state.NegotiatedProtocol != acme.ALPNProto {
		return nil, errors.New("the relay does not know the challenge")
	}
	want, err := asn1.Marshal(sha256Of(a.token + "." + a.thumbprint))
	if err != nil {
		return nil, err
	}
	for _, e := range state.PeerCertificates[0].Extensions {
		a.proved = a.proved || e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) && e.Critical && bytes.Equal(e.Value, want)
	}
	if !a.proved {
		return nil, errors.New("the answer is wrong")
	}
	return map[string]string{"type": "tls-alpn-01", "url": a.server.URL + "/challenge", "token": a.token, "status": "valid"}, nil
}

func sha256Of(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func (a *authority) finalize(_ *http.Request, payload []byte) (any, error) {
	var request struct{ CSR string }
	if err := json.Unmarshal(payload, &request); err != nil || !a.proved {
		return nil, fmt.Errorf("not yet: %w", err)
	}
	der, err := base64.RawURLEncoding.DecodeString(request.CSR)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	a.leaf, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: csr.DNSNames, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.root, csr.PublicKey, a.key)
	return a.state(), err
}

// trust is a TLS configuration that knows the authority.
func (a *authority) trust() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(a.root)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// A relay with a name of its own fetches its certificate by itself, serves HTTPS and
// WebSockets with it under that name alone, and keeps it for the next start. All its
// files are its owner's, whatever the umask.
func TestDomain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no umask there")
	}
	data, listen := filepath.Join(t.TempDir(), "data"), freePort(t)
	ca := newAuthority(t, listen)
	args := []string{
		"serve", "--data", data, "--listen", listen, "--domain", "Chat.example.org",
		"--registration", "open", "--acme-directory", ca.server.URL + "/directory",
	}
	umask := []string{"/bin/sh", "-c", `umask 000; exec "$0" "$@"`}
	p := serveProcess(t, umask, args...)
	if p.origin != "https://chat.example.org:443" {
		t.Errorf("it says that it is %s", p.origin)
	}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, listen)
	}
	handshake := func(cfg *tls.Config) (tls.ConnectionState, error) {
		raw, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", listen)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer func() { _ = raw.Close() }()
		return raw.(*tls.Conn).ConnectionState(), nil
	}
	with := func(change func(*tls.Config)) *tls.Config {
		cfg := ca.trust()
		cfg.ServerName = "chat.example.org"
		change(cfg)
		return cfg
	}

	// The operator is told, once, why there is no certificate.
	ca.refuse(true)
	for range 3 {
		if _, err := handshake(with(func(*tls.Config) {})); err == nil {
			t.Error("a handshake without a certificate succeeded")
		}
	}
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := p.stderr.String(); strings.Count(log, "no certificate") != 1 || !strings.Contains(log, "not for this name") {
		t.Errorf("the log says: %s", log)
	}
	ca.refuse(false)
	p = serveProcess(t, umask, args...)

	// The first of these makes the relay fetch its certificate.
	state, err := handshake(with(func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }))
	if err != nil || state.NegotiatedProtocol != "http/1.1" {
		t.Fatalf("a handshake: %v, protocol %q; %s", err, state.NegotiatedProtocol, p.stderr)
	}
	for name, cfg := range map[string]*tls.Config{
		"another name": with(func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = "other.example.org", true }),
		"no name":      with(func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = "", true }),
		"TLS 1.1":      with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }),
	} {
		if _, err := handshake(cfg); err == nil {
			t.Errorf("%s: a handshake succeeded", name)
		}
	}
	alice := newPerson(t)
	client, err := relayclient.New(relayclient.Config{
		Server: "https://chat.example.org:443", Address: alice.address, Identity: alice.identity, DialContext: dial, TLS: ca.trust(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Register(t.Context(), alice.registration("alice")); err != nil {
		t.Fatalf("registering: %v", err)
	}
	conn, err := client.Dial(t.Context())
	if err != nil {
		t.Fatalf("a WebSocket: %v", err)
	}
	if _, err := conn.Next(t.Context()); err != nil {
		t.Errorf("the WebSocket: %v", err)
	}
	_ = conn.Close()

	if err := filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o", path, got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(data, "acme", "chat.example.org")); err != nil {
		t.Errorf("the certificate is not kept: %v", err)
	}
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := p.stderr.String(); strings.Contains(log, "example.org") {
		t.Errorf("the log says: %s", log)
	}

	// The next start needs no authority.
	ca.server.Close()
	p = serveProcess(t, nil, args...)
	if state, err := handshake(with(func(*tls.Config) {})); err != nil || len(state.PeerCertificates) != 2 {
		t.Errorf("after a restart: %v", err)
	}
	if ca.orders != 2 {
		t.Errorf("%d orders, want the refused one and the other", ca.orders)
	}
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}
