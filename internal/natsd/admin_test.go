package natsd_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/certtest"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

func readAdmin(t *testing.T, dir string) natsd.Admin {
	t.Helper()
	admin, err := natsd.ReadAdmin(dir)
	if err != nil {
		t.Fatalf("ReadAdmin: %v", err)
	}
	return admin
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	s := start(t, cfg)
	path := filepath.Join(cfg.DataDir, "admin.json")
	stat, err := os.Stat(path)
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("admin.json: %v, %v, want mode 0600", stat, err)
	}
	first := readAdmin(t, cfg.DataDir)
	if first.URL != s.ClientURL() {
		t.Errorf("URL = %s, want %s", first.URL, s.ClientURL())
	}
	nc, err := dialTCP(t, first.URL, nats.UserInfo(first.User, first.Password))
	if err != nil {
		t.Fatalf("connect as admin: %v", err)
	}
	defer nc.Close()
	makeLog(t, nc, 1)
	appendTo(t, nc, 3)
	if got := count(t, connect(t, s, natsd.Node)); got != 3 {
		t.Errorf("the node sees %d messages of the admin, want 3", got)
	}

	s.Stop()
	_, err = natsd.ReadAdmin(cfg.DataDir)
	wantIs(t, err, natsd.ErrNoAdmin)
	wantText(t, err, path, "start a server")
	s = start(t, cfg)
	if again := readAdmin(t, cfg.DataDir); again.Password == first.Password {
		t.Error("the password is the same after a restart")
	}
	_, err = dialTCP(t, s.ClientURL(), nats.UserInfo(first.User, first.Password))
	wantIs(t, err, nats.ErrAuthorization)
}

func TestStaleAdminIsReplaced(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	path := filepath.Join(cfg.DataDir, "admin.json")
	for _, name := range []string{path, path + ".tmp"} {
		if err := os.WriteFile(name, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	start(t, cfg)
	readAdmin(t, cfg.DataDir)
	if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("admin.json: %v, %v, want mode 0600", stat, err)
	}
}

func TestReadAdminRefusesDamage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ content, says string }{
		{"{", "unexpected end"},
		{"{}", "missing"},
		{`{"url":"nats://127.0.0.1:4222","user":"u"}`, "missing"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "admin.json"), []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := natsd.ReadAdmin(dir)
		if err == nil {
			t.Errorf("%s was accepted", tt.content)
			continue
		}
		wantText(t, err, dir, tt.says, "restart")
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	both := certtest.NewAuthority(t).Mutual(time.Now().Add(time.Hour), "127.0.0.1")
	cfg := config(t)
	cfg.TLS = &tls.Config{Certificates: both.Certificates, MinVersion: tls.VersionTLS13}
	s := start(t, cfg)
	if !strings.HasPrefix(s.ClientURL(), "tls://127.0.0.1:") {
		t.Errorf("ClientURL = %s", s.ClientURL())
	}
	if nc, err := nats.Connect(s.ClientURL()); err == nil {
		nc.Close()
		t.Error("connected without knowing the certificate")
	}
	secure := nats.Secure(&tls.Config{RootCAs: both.RootCAs, MinVersion: tls.VersionTLS13})
	answer(t, connect(t, s, natsd.Gateway), demo+".cmd.>", "done")
	if _, err := dial(t, s.ClientURL(), secure).RequestWithContext(within(t), deposit, nil); err != nil {
		t.Errorf("request: %v", err)
	}
	admin := readAdmin(t, cfg.DataDir)
	nc, err := dialTCP(t, admin.URL, nats.UserInfo(admin.User, admin.Password), secure)
	if err != nil {
		t.Fatalf("connect as admin: %v", err)
	}
	defer nc.Close()
	makeLog(t, nc, 1)
}
