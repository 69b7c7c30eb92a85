package node

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// peerTLS is what both ends of a connection between nodes use, be it one of their own or
// one of their servers; nil when it is not encrypted.
func (c Config) peerTLS() (*tls.Config, error) {
	fields := []struct{ name, path string }{{"PeerCA", c.PeerCA}, {"PeerCert", c.PeerCert}, {"PeerKey", c.PeerKey}}
	given, missing := "", ""
	for _, f := range fields {
		if f.path == "" {
			missing = f.name
		} else {
			given = f.name
		}
	}
	switch {
	case given == "":
		return nil, nil
	case missing != "":
		return nil, &ConfigError{Field: missing, Other: given, Problem: "the one needs the other: give an authority, a certificate and its key, or none of the three"}
	}
	pool := x509.NewCertPool()
	for _, f := range fields {
		text, err := os.ReadFile(f.path)
		if err != nil {
			return nil, &ConfigError{Field: f.name, Problem: fmt.Sprintf("%v: name a file that the node can read", err)}
		}
		if f.name == "PeerCA" && !pool.AppendCertsFromPEM(text) {
			return nil, &ConfigError{Field: f.name, Problem: fmt.Sprintf("there is no certificate in %s: name a file with one or more in PEM form", f.path)}
		}
	}
	k := &keyPair{cert: c.PeerCert, key: c.PeerKey, log: c.Log}
	if err := k.read(); err != nil {
		return nil, &ConfigError{Field: "PeerCert", Other: "PeerKey", Problem: fmt.Sprintf("%v: give a certificate and the key that belongs to it, both in PEM form", err)}
	}
	return &tls.Config{
		RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.current(), nil },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return k.current(), nil },
	}, nil
}

// A keyPair is a certificate with its key, read again when the files have changed: to
// renew it needs no restart.
type keyPair struct {
	cert, key string // the files
	log       *slog.Logger

	mu      sync.Mutex
	last    *tls.Certificate
	changed [2]time.Time // the files, when last was read
	told    string       // why what there is now cannot be read
}

// current is the newest that can be read: of a renewal, one file may be there already.
func (k *keyPair) current() *tls.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.last
	switch err := k.read(); {
	case err != nil && err.Error() != k.told:
		k.told = err.Error()
		k.log.Warn("the certificate for the other nodes has changed and cannot be read: the one before is shown", "error", err)
	case k.last != before:
		k.log.Info("the certificate for the other nodes has been renewed", "until", k.last.Leaf.NotAfter)
	}
	return k.last
}

// read reads the files unless they are as they were.
func (k *keyPair) read() error {
	var changed [2]time.Time
	for i, path := range []string{k.cert, k.key} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		changed[i] = info.ModTime()
	}
	if k.last != nil && changed == k.changed {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err != nil {
		return err
	}
	k.last, k.changed, k.told = &pair, changed, ""
	return nil
}
