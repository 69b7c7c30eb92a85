package node_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/cluster"
	"github.com/holdfast-run/holdfast/internal/certtest"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
)

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// secure gives a node a certificate for 127.0.0.1 by an authority.
func secure(t *testing.T, c *node.Config, by *certtest.Authority) {
	t.Helper()
	folder := t.TempDir()
	c.PeerCA, c.PeerCert, c.PeerKey = filepath.Join(folder, "ca.pem"), filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	cert, key := by.Issue(time.Now().Add(time.Hour), "127.0.0.1")
	write(t, c.PeerCA, by.PEM())
	write(t, c.PeerCert, cert)
	write(t, c.PeerKey, key)
}

// peerPort is where a node listens for the others, once the node that is asked has heard of it.
func peerPort(t *testing.T, c node.Config) (address string) {
	t.Helper()
	poll(t, "address of "+c.Name+" among the members", func() bool {
		out, errs, code := run("members", "--data", c.Data, "--json")
		if code != cli.ExitOK {
			t.Logf("members: exit code %d\n%s", code, errs)
			return false
		}
		for line := range strings.Lines(out) {
			var m cluster.Info
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			if m.Name == c.Name {
				address = m.Address
			}
		}
		return address != ""
	})
	return address
}

// shown is the certificate that is shown at an address, and refusal what is said there to
// one who has none, or one of a stranger.
func shown(t *testing.T, address string, by, stranger *certtest.Authority) (cert *x509.Certificate, refusal string) {
	t.Helper()
	config := by.Mutual(time.Now().Add(time.Hour), "127.0.0.1")
	config.NextProtos, config.Certificates = []string{"h2"}, nil
	if stranger != nil {
		config.Certificates = stranger.Mutual(time.Now().Add(time.Hour), "127.0.0.1").Certificates
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &config.Certificates[0], nil }
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", address, config)
	if err != nil {
		t.Fatalf("%s does not show a good certificate: %v", address, err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, err = conn.Read(make([]byte, 1))
	return conn.ConnectionState().PeerCertificates[0], fmt.Sprint(err)
}

// Three nodes with certificates form a cluster and answer each other's requests; all
// their ports for one another demand one of their authority.
func TestClusterOverTLS(t *testing.T) {
	t.Parallel()
	authority, configs := certtest.NewAuthority(t), trio(t)
	for i := range configs {
		secure(t, &configs[i], authority)
	}
	begin := time.Now()
	nodes := startAll(t, configs...)
	t.Logf("three nodes serve after %v", time.Since(begin))
	poll(t, "each is active on one node", func() bool { // again on another one when a lease was lost
		for i := range 9 { // whoever owns it
			subject := fmt.Sprintf("demo.cmd.account.a-%d.OpenAccount", i)
			if v := send(t, dial(t, nodes[i%3]), subject, "open", `{"owner":"Ada"}`); v != 1 {
				t.Errorf("%s: version %d", subject, v)
			}
		}
		active := 0
		for _, n := range nodes {
			active += n.Stats().Active
		}
		return active == 9
	})
	for i := range nodes {
		for _, address := range []string{configs[0].Cluster[i].Address, peerPort(t, configs[i])} {
			if _, says := shown(t, address, authority, nil); !strings.Contains(says, "certificate required") {
				t.Errorf("%s demands no certificate: %s", address, says)
			}
			if _, says := shown(t, address, authority, certtest.NewAuthority(t)); !strings.Contains(says, "tls: unknown certificate authority") && !strings.Contains(says, "tls: bad certificate") {
				t.Errorf("%s takes any certificate: %s", address, says)
			}
		}
	}
	stopAll(t, nodes...)
}

// A renewed certificate is shown without a restart; until both of its files are there, the
// one before is.
func TestRenewedCertificate(t *testing.T) {
	authority, c := certtest.NewAuthority(t), config(t)
	var log journal
	c.Name, c.Log = "n1", slog.New(slog.NewTextHandler(&log, nil))
	says := func(times int, what string) {
		t.Helper()
		if got := strings.Count(log.String(), what); got != times {
			t.Errorf("%q: %d times, want %d, in:\n%s", what, got, times, &log)
		}
	}
	secure(t, &c, authority)
	start(t, c)
	address := peerPort(t, c)
	first, _ := shown(t, address, authority, nil)
	cert, key := authority.Issue(time.Now().Add(2*time.Hour), "127.0.0.1")
	write(t, c.PeerCert, cert)
	for range 3 {
		if half, _ := shown(t, address, authority, nil); !half.Equal(first) {
			t.Error("a certificate without its key is shown")
		}
	}
	says(1, "cannot be read")
	write(t, c.PeerKey, key)
	for range 3 {
		if second, _ := shown(t, address, authority, nil); second.Equal(first) {
			t.Error("the certificate is not the new one")
		}
	}
	says(1, "has been renewed")
	if err := os.Remove(c.PeerKey); err != nil {
		t.Fatal(err)
	}
	shown(t, address, authority, nil)
	says(2, "cannot be read")
}

// What cannot be is refused by its name.
func TestRunRefusesBadCertificates(t *testing.T) {
	var c, other node.Config
	authority := certtest.NewAuthority(t)
	secure(t, &c, authority)
	secure(t, &other, authority)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	write(t, empty, nil)
	all := func(ca, cert, key string, more ...string) []string {
		if len(more) == 0 {
			more = []string{"--data", "/dev/null/none"} // nothing is to be started, not even by mistake
		}
		return append([]string{"run", "--peer-ca", ca, "--peer-cert", cert, "--peer-key", key}, more...)
	}
	for _, tt := range []struct {
		says string
		args []string
	}{
		{"--peer-key and --peer-ca: the one needs the other", all(c.PeerCA, "", "")},
		{"--peer-ca and --peer-key: the one needs the other", all("", c.PeerCert, c.PeerKey)},
		{"--peer-cert and --peer-key: the one needs the other", all(c.PeerCA, "", c.PeerKey)},
		{"--peer-key and --peer-cert: the one needs the other", all(c.PeerCA, c.PeerCert, "")},
		{"--peer-ca: open /none: no such file", all("/none", c.PeerCert, c.PeerKey)},
		{"--peer-cert: open /none: no such file", all(c.PeerCA, "/none", c.PeerKey)},
		{"--peer-key: open /none: no such file", all(c.PeerCA, c.PeerCert, "/none")},
		{"--peer-ca: there is no certificate in " + empty, all(empty, c.PeerCert, c.PeerKey)},
		{"--peer-cert and --peer-key: ", all(c.PeerCA, empty, c.PeerKey)},
		{"--peer-cert and --peer-key: ", all(c.PeerCA, c.PeerCert, other.PeerKey)},
		{"--peer-ca: open /none: no such file", all("/none", c.PeerCert, c.PeerKey, "--nats", "nats://127.0.0.1:1")},
		{"--cluster: some have host names", all(c.PeerCA, c.PeerCert, c.PeerKey, "--data", "/dev/null/none", "--name", "n1", "--cluster", "n1=127.0.0.1:6222,n2=127.0.0.1:6223,n3=localhost:6224")},
	} {
		out, errs, code := run(tt.args...)
		if code != cli.ExitUsage || !strings.Contains(errs, "error: "+tt.says) {
			t.Errorf("%v: exit code %d, want %d and %q in:\n%s%s", tt.args, code, cli.ExitUsage, tt.says, out, errs)
		}
	}
}
