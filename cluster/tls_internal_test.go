package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/certtest"
)

// journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) says(texts ...string) bool {
	for line := range strings.Lines(j.String()) {
		all := true
		for _, s := range texts {
			all = all && strings.Contains(line, s)
		}
		if all {
			return true
		}
	}
	return false
}

// secured has a member listen at a host, with TLS, and gives what it logs.
func (r *ring) secured(host string, secure *tls.Config) (*Member, *journal) {
	r.t.Helper()
	j := &journal{}
	return r.member(func(c *Config) {
		c.Listen, c.TLS, c.Host.Log = net.JoinHostPort(host, "0"), secure, slog.New(slog.NewTextHandler(j, nil))
	}), j
}

// ownedBy is an account that one member sees another own.
func ownedBy(t *testing.T, owner, seenBy *Member) holdfast.Ref {
	t.Helper()
	s := seenBy.current.Load().scene.Load()
	for i := range 1000 {
		if o := s.owner(account(i)); o != nil && o.ID == owner.current.Load().id {
			return account(i)
		}
	}
	t.Fatal("it owns nothing")
	return holdfast.Ref{}
}

// Members answer each other's requests over TLS, each with a certificate for the host at
// which it listens, and for no other.
func TestMembersOverTLS(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost", "::1"} {
		t.Run(host, func(t *testing.T) {
			if l, err := net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
				t.Skip(err)
			} else {
				l.Close()
			}
			r, authority := startRing(t), certtest.NewAuthority(t)
			one, _ := r.secured(host, authority.Mutual(time.Now().Add(time.Hour), host))
			two, _ := r.secured(host, authority.Mutual(time.Now().Add(time.Hour), host))
			for _, pair := range [][2]*Member{{one, two}, {two, one}} {
				from, owner := pair[0], pair[1]
				eventually(t, "both see both", func() bool { return sees(from, 2) })
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if got, err := from.Send(ctx, ownedBy(t, owner, from), &bankpb.OpenAccount{Owner: "Ada"}); err != nil || got.Version != 1 {
					t.Errorf("%+v, %v", got, err)
				}
				if owner.Stats().Active != 1 {
					t.Errorf("the owner has not been asked: %+v", owner.Stats())
				}
			}
		})
	}
}

// The others reach a member by the host that it was given, if it is one.
func TestAddress(t *testing.T) {
	for listen, host := range map[string]string{"127.0.0.1:0": "127.0.0.1", "localhost:0": "localhost", ":0": "", "0.0.0.0:0": ""} {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		want := l.Addr().String()
		if _, port, err := net.SplitHostPort(want); err == nil && host != "" {
			want = net.JoinHostPort(host, port)
		}
		if got := addressOf(l, listen); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}

// Members that do not trust one another do not answer, and the log says why.
func TestMembersRefuse(t *testing.T) {
	const host = "127.0.0.1"
	good, tomorrow := certtest.NewAuthority(t), time.Now().Add(24*time.Hour)
	none := good.Mutual(tomorrow, host)
	none.Certificates = nil
	for _, tt := range []struct {
		name            string
		secure          *tls.Config
		called, calling string // what the good one says when it calls, and when it is called
	}{
		{"another authority", certtest.NewAuthority(t).Mutual(tomorrow, host), "certificate signed by unknown authority", "tls: bad certificate"},
		{"expired", good.Mutual(time.Now().Add(-time.Minute), host), "certificate has expired", "certificate has expired"},
		{"another host", good.Mutual(tomorrow, "127.0.0.9"), "certificate is valid for 127.0.0.9, not 127.0.0.1", ""},
		{"no certificate", none, "remote error: tls", "client didn't provide a certificate"},
		{"no TLS", nil, "first record does not look like a TLS handshake", "first record does not look like a TLS handshake"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRing(t)
			one, said := r.secured(host, good.Mutual(tomorrow, host))
			bad, _ := r.secured(host, tt.secure)
			refuses := func(from, owner *Member, message, why string) {
				t.Helper()
				eventually(t, "both see both", func() bool { return sees(from, 2) })
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				to, answered := ownedBy(t, owner, from), make(chan error, 1)
				go func() {
					_, err := from.Send(ctx, to, &bankpb.OpenAccount{Owner: "Ada"})
					answered <- err
				}()
				eventually(t, fmt.Sprintf("%q, %q", message, why), func() bool { return said.says(message, why) || len(answered) > 0 })
				cancel()
				if err := <-answered; holdfast.CodeOf(err) != holdfast.CodeUnavailable {
					t.Errorf("got %v, want unavailable", err)
				}
			}
			refuses(one, bad, "a node cannot be reached", tt.called)
			if tt.calling != "" {
				refuses(bad, one, "a node was refused", tt.calling)
			}
		})
	}
}

// Who only looks whether the port is open is not worth a word.
func TestRefusalsAreTold(t *testing.T) {
	for send, told := range map[string]bool{"": false, "GET / HTTP/1.1\r\n\r\n": true} {
		j := &journal{}
		w := watched{credentials.NewTLS(certtest.NewAuthority(t).Mutual(time.Now().Add(time.Hour), "127.0.0.1")), newCrier(slog.New(slog.NewTextHandler(j, nil)), time.Now)}
		here, there := net.Pipe()
		go func() {
			_, _ = there.Write([]byte(send))
			there.Close()
		}()
		if _, _, err := w.Clone().ServerHandshake(here); err == nil {
			t.Errorf("%q is a handshake", send)
		}
		if got := j.says("a node was refused"); got != told {
			t.Errorf("%q: told %v, want %v", send, got, told)
		}
	}
}

// What happens many times a second is told once in a while, of each node for itself.
func TestCrier(t *testing.T) {
	j, now := &journal{}, time.Unix(0, 0)
	c := newCrier(slog.New(slog.NewTextHandler(j, nil)), func() time.Time { return now })
	lines := func() int { return strings.Count(j.String(), "\n") }
	for range 3 {
		c.warn("one", "gone")
		c.warn("two", "gone")
	}
	if n := lines(); n != 2 {
		t.Errorf("it told %d times, want once of each of two", n)
	}
	now = now.Add(tellAgain)
	if c.warn("one", "gone"); lines() != 3 {
		t.Error("it does not tell again")
	}
	for i := range 10 * mostTold {
		c.warn(fmt.Sprint(i), "gone")
	}
	if len(c.told) > mostTold {
		t.Errorf("it remembers %d", len(c.told))
	}
}
