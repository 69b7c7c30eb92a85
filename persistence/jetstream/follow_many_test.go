package jetstream_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

// A busy client does not read for a while.
type busy struct {
	net.Conn
	until *sync.RWMutex
}

func (b busy) Read(p []byte) (int, error) {
	b.until.RLock()
	defer b.until.RUnlock()
	return b.Conn.Read(p)
}

func (b busy) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, 10*time.Second)
	b.Conn = conn
	return b, err
}

// TestFollowTogether has many follow over a connection that is not read for a while: the
// server would break it, if it had more for them than it keeps.
func TestFollowTogether(t *testing.T) {
	const followers, commits, size = 320, 16, 50 << 10
	s := startServers(t, 1, func(c *natsd.Config) { c.Listen, c.RelaxedSync = "127.0.0.1:0", true })
	admin, err := natsd.ReadAdmin(s.list[0].Config().DataDir)
	if err != nil {
		t.Fatal(err)
	}
	line := busy{until: new(sync.RWMutex)}
	read := dial(t, s.list[0].ClientURL(), nats.UserInfo(admin.User, admin.Password), nats.SetCustomDialer(line))
	store := s.open(t, jetstream.Config{Context: "together", Read: []*nats.Conn{read}})
	h := mustAppend(t, s.open(t, jetstream.Config{Context: "together"}), holdfast.Ref{Type: "first", ID: "a"}, persistence.Head{})
	var all []*persistencetest.Following
	for range followers {
		all = append(all, persistencetest.Follow(t, store, begin))
	}
	for _, f := range all {
		f.Until(t, h.Position)
	}
	line.until.Lock()
	appendMany(t, s.open(t, jetstream.Config{Context: "together"}), commits, make([]byte, size))
	<-time.After(time.Second)
	line.until.Unlock()
	for _, f := range all {
		f.Next(t, commits)
	}
	if n := read.Stats().Reconnects; n > 0 {
		t.Errorf("the connection broke %d times", n)
	}
}
