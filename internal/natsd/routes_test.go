package natsd_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/certtest"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

// A routed cluster is three members whose routes are encrypted.
type routed struct {
	hosts  []string
	routes []string
}

// newRouted has each member at a host of 127.0.0.1.
func newRouted(t *testing.T, hosts ...string) *routed {
	t.Helper()
	r := &routed{hosts: hosts}
	for i, a := range freeAddresses(t, len(hosts)) {
		_, port, err := net.SplitHostPort(a)
		if err != nil {
			t.Fatal(err)
		}
		r.routes = append(r.routes, net.JoinHostPort(hosts[i], port))
	}
	return r
}

func (r *routed) member(t *testing.T, i int, secure *tls.Config) (natsd.Config, *journal) {
	t.Helper()
	cfg, said := config(t), &journal{}
	cfg.Name, cfg.Logger = fmt.Sprintf("member-%d", i), slog.New(said)
	cfg.Cluster = &natsd.Cluster{Name: "routed", Listen: r.routes[i], Routes: r.routes, TLS: secure}
	return cfg, said
}

// startAll starts members at the same time.
func startAll(t *testing.T, configs ...natsd.Config) {
	t.Helper()
	errs := make(chan error, len(configs))
	for _, cfg := range configs {
		go func() {
			s, err := natsd.Start(within(t), cfg)
			if err == nil {
				t.Cleanup(s.Stop)
			}
			errs <- err
		}()
	}
	for range configs {
		if err := receive(t, errs, "a member"); err != nil {
			t.Error(err)
		}
	}
}

// cutShort is said of a handshake that takes too long on a busy machine, and is made again.
var cutShort = regexp.MustCompile("timeout|EOF|reset by peer|broken pipe|closed")

// Each member shows a certificate for the host by which the others dial it.
func TestRoutesVerifyTheHost(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "localhost"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			authority, r := certtest.NewAuthority(t), newRouted(t, host, host, host)
			var configs []natsd.Config
			var journals []*journal
			for i := range r.routes {
				cfg, said := r.member(t, i, authority.Mutual(time.Now().Add(time.Hour), host))
				configs, journals = append(configs, cfg), append(journals, said)
			}
			startAll(t, configs...)
			for _, said := range journals {
				for line := range strings.Lines(said.String()) {
					if strings.Contains(line, "handshake error") && !cutShort.MatchString(line) {
						t.Errorf("a member says: %s", line)
					}
				}
			}
		})
	}
}

// A member does not take another host's certificate for that of the one it dials.
func TestRouteToAnotherHost(t *testing.T) {
	t.Parallel()
	authority, r := certtest.NewAuthority(t), newRouted(t, "127.0.0.1", "127.0.0.1")
	tomorrow := time.Now().Add(24 * time.Hour)
	other, err := tls.Listen("tcp", r.routes[1], authority.Mutual(tomorrow, "127.0.0.9"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).HandshakeContext(t.Context()) // it fails
			conn.Close()
		}
	}()
	cfg, said := r.member(t, 0, authority.Mutual(tomorrow, "127.0.0.1"))
	awaitRefused(t, cfg, func() string { return said.String() }, "certificate is valid for 127.0.0.9, not 127.0.0.1")
}

// awaitRefused starts a member that waits for others until somebody says why that is in
// vain.
func awaitRefused(t *testing.T, cfg natsd.Config, said func() string, says string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		s, err := natsd.Start(ctx, cfg)
		if err == nil {
			s.Stop()
		}
		ended <- err
	}()
	eventually(t, says, func() error {
		select {
		case err := <-ended:
			t.Fatalf("it has ended: %v", err)
		default:
		}
		if all := said(); !strings.Contains(all, "TLS route handshake error: ") || !strings.Contains(all, says) {
			return fmt.Errorf("nobody says so:\n%s", all)
		}
		return nil
	})
	cancel()
	wantIs(t, receive(t, ended, "the start"), context.Canceled)
}

// A member whose certificate is not good, or that has none, is kept out, and the log of
// one side or the other says why.
func TestRoutesRefuse(t *testing.T) {
	t.Parallel()
	good, tomorrow := certtest.NewAuthority(t), time.Now().Add(24*time.Hour)
	r := newRouted(t, "127.0.0.1", "127.0.0.1", "127.0.0.1")
	two := [2]*journal{}
	var configs []natsd.Config
	for i := range two {
		cfg, said := r.member(t, i, good.Mutual(tomorrow, "127.0.0.1"))
		cfg.Cluster.Routes = r.routes[:2] // or they would wait for the third
		configs, two[i] = append(configs, cfg), said
	}
	startAll(t, configs...)
	none := good.Mutual(tomorrow, "127.0.0.1")
	none.Certificates = nil
	for _, tt := range []struct {
		name   string
		secure *tls.Config
		says   string
	}{
		{"another authority", certtest.NewAuthority(t).Mutual(tomorrow, "127.0.0.1"), "certificate signed by unknown authority"},
		{"expired", good.Mutual(time.Now().Add(-time.Minute), "127.0.0.1"), "certificate has expired"},
		{"no certificate", none, "client didn't provide a certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, own := r.member(t, 2, tt.secure)
			awaitRefused(t, cfg, func() string { return fmt.Sprint(two[0], two[1], own) }, tt.says)
		})
	}
}
