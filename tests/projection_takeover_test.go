package tests

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/pgtest"
)

var projectionTakeovers = flag.Int("projections.takeovers", 1, "how often TestProjectionsTakenOver kills those that project")

// Of three nodes that share a database those are killed that project, while all write. Others
// take over: the read models have no gap, and nothing is there twice.
func TestProjectionsTakenOver(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	s := stageOn(t, 1, binary, straight, func(s *stage) { s.database = database })
	var conns []*nats.Conn
	for range 8 {
		conns = append(conns, s.dial(0))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := gather(t, seed, math.MaxInt, conns...)
	nc := conns[0]
	c.until(100)
	caughtUp(t, nc, "0-1")
	moves := newMoves(t, nc, database)
	var longest time.Duration
	for range *projectionTakeovers {
		c.until(c.events.Load() + 100)
		longest = max(longest, s.takeOver(moves))
	}
	c.enough.Store(0)
	c.disperse()
	caughtUp(t, nc, c.last.String())
	got := models{}
	got.inSQL(t, "", database)
	got.inKV(t, nc)
	got.equal(t, modelsOf(t, c.recorded(nc)))
	rebuiltSame(t, s.admin)
	t.Logf("%d takeovers during %d events; the longest took %v; the lease is %v", *projectionTakeovers, c.events.Load(), longest, stageLease)
}

// takeOver kills those that keep statement and balances, and gives the time until both go on.
func (s *stage) takeOver(m *moves) (took time.Duration) {
	s.t.Helper()
	dead := s.keepers("")
	killed := time.Now()
	for _, name := range dead {
		s.nodes[name].kill()
	}
	<-time.After(50 * time.Millisecond) // what they have done arrives
	m.begin()
	waitFor(s.t, "others to keep the read models", m.bothMoved)
	rows, documents := m.times(killed)
	s.t.Logf("%v killed: rows go on after %v, documents after %v", dead, rows.Round(time.Millisecond), documents.Round(time.Millisecond))
	for _, name := range dead {
		s.keepers(name)
		s.start(name)
	}
	return max(rows, documents)
}

// keepers waits until it is known which nodes keep statement and balances, of which one is
// not to be, and gives them.
func (s *stage) keepers(not string) (names []string) {
	s.t.Helper()
	waitFor(s.t, "the nodes to say who keeps what", func() bool {
		names = nil
		for _, projection := range []string{"statement", "balances"} {
			out, _, code := runNode(s.t, "projections", "show", projection, "--json", s.admin)
			var a struct {
				Projection struct {
					State       string
					Generations []struct{ Units []struct{ Node string } }
				}
			}
			if code != 0 || json.Unmarshal([]byte(out), &a) != nil || len(a.Projection.Generations) == 0 {
				return false
			}
			for _, u := range a.Projection.Generations[0].Units {
				if u.Node == not || s.nodes[u.Node] == nil {
					return false
				}
				names = append(names, u.Node)
			}
		}
		slices.Sort(names)
		names = slices.Compact(names)
		return len(names) > 0 && len(names) < len(s.nodes)
	})
	return names
}

// moves are when read models have changed.
type moves struct {
	t  *testing.T
	db *sql.DB

	mu              sync.Mutex
	begun           bool
	before          int64
	rows, documents time.Time // first since it has begun
}

func newMoves(t *testing.T, nc *nats.Conn, database string) *moves {
	t.Helper()
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	watch, err := balancesIn(t.Context(), t, nc).WatchAll(context.WithoutCancel(t.Context()), jetstream.UpdatesOnly())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watch.Stop() })
	m := &moves{t: t, db: db}
	go func() {
		for range watch.Updates() {
			m.mu.Lock()
			if m.begun && m.documents.IsZero() {
				m.documents = time.Now()
			}
			m.mu.Unlock()
		}
	}()
	return m
}

// checkpoint is how far statement is.
func (m *moves) checkpoint() (done int64) {
	m.t.Helper()
	if err := m.db.QueryRow(`SELECT done FROM demo_statement_1.holdfast_checkpoints`).Scan(&done); err != nil {
		m.t.Fatal(err)
	}
	return done
}

func (m *moves) begin() {
	m.t.Helper()
	before := m.checkpoint()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begun, m.before, m.rows, m.documents = true, before, time.Time{}, time.Time{}
}

func (m *moves) bothMoved() bool {
	now := m.checkpoint()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows.IsZero() && now > m.before {
		m.rows = time.Now()
	}
	return !m.rows.IsZero() && !m.documents.IsZero()
}

func (m *moves) times(since time.Time) (rows, documents time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rows.Sub(since), m.documents.Sub(since)
}
