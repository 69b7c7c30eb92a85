package tests

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/pgtest"
)

var (
	projectionKills  = flag.Int("projections.kills", 4, "how often TestProjectionsKilled kills the node")
	projectionEvents = flag.Int("projections.events", 4000, "during how many events TestProjectionsKilled does so")
)

// The node is killed again and again while events are written and projected. Rows, documents
// in SQL and documents in NATS KV are in the end what a clean rebuild makes of the log, and
// what it says.
func TestProjectionsKilled(t *testing.T) {
	for name, database := range map[string]func(*testing.T) string{
		"SQLite":     func(*testing.T) string { return "" },
		"PostgreSQL": func(t *testing.T) string { return pgtest.Database(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killProjecting(t, database(t))
		})
	}
}

func killProjecting(t *testing.T, database string) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	folder, flags := t.TempDir(), killFlags
	if database != "" {
		flags = append([]string{"--database", database}, killFlags...)
	}
	p := startProcess(t, folder, "127.0.0.1:0", flags...)
	address := p.address()
	var conns []*nats.Conn
	for range 24 {
		conns = append(conns, dial(t, p.url))
	}
	c, begun := gather(t, seed, *projectionEvents, conns...), time.Now()
	for i := range *projectionKills {
		c.until(int64((i + 1) * *projectionEvents / (*projectionKills + 1)))
		<-time.After(time.Duration(random.IntN(100_000)) * time.Microsecond)
		p.kill()
		p = startProcess(t, folder, address, flags...)
	}
	c.disperse()
	written := time.Since(begun)
	nc := conns[0]
	caughtUp(t, nc, c.last.String())
	got := models{}
	got.inSQL(t, folder, database)
	got.inKV(t, nc)
	got.equal(t, modelsOf(t, c.recorded(nc)))
	rebuiltSame(t, "--data="+folder)
	t.Logf("%d kills during %d events, in %v", *projectionKills, c.events.Load(), written.Round(time.Millisecond))
}
