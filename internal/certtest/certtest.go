// Package certtest makes the certificates of tests.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// An Authority signs certificates.
type Authority struct {
	tb   testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one that nobody else trusts.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb}
	der, key := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority of " + tb.Name()}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	})
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	a.cert, a.key = cert, key
	return a
}

// sign has a certificate signed by the authority, or by itself when there is none yet.
func (a *Authority) sign(template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	a.tb.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.tb.Fatal(err)
	}
	template.SerialNumber = serial
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		a.tb.Fatal(err)
	}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = template, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by); err != nil {
		a.tb.Fatal(err)
	}
	return der, key
}

// PEM is the authority's own certificate.
func (a *Authority) PEM() []byte { return encode("CERTIFICATE", a.cert.Raw) }

// Issue makes a certificate for hosts, which are names or IP addresses, that is good until
// the time given, and its key.
func (a *Authority) Issue(until time.Time, hosts ...string) (cert, key []byte) {
	a.tb.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "a node"}, NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, private := a.sign(template)
	b, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.tb.Fatal(err)
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", b)
}

// Mutual is what both directions between those use who trust the authority: each shows a
// certificate for hosts, and demands one.
func (a *Authority) Mutual(until time.Time, hosts ...string) *tls.Config {
	a.tb.Helper()
	pair, err := tls.X509KeyPair(a.Issue(until, hosts...))
	if err != nil {
		a.tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
