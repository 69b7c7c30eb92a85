package jetstream_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// scattered are the commits of the aggregate that is loaded.
const scattered = 10

// fill adds n messages of other aggregates to the log.
func fill(b *testing.B, js natsjs.JetStream, c messages.Context, n, size int) {
	b.Helper()
	body := make([]byte, size)
	for i := range n {
		if _, err := js.PublishAsync(fmt.Sprintf("%s.log.0.fill.%d", c, i%10_000), body, natsjs.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		b.Fatal("the log is not filled")
	}
}

// scatter makes a log of n commits in which an aggregate has a few, each in another
// block of the server's.
func scatter(b *testing.B, s *servers, c messages.Context, n, size int) holdfast.Ref {
	b.Helper()
	nc := s.connect(b, 0)
	defer nc.Close()
	js, err := natsjs.New(nc, natsjs.WithPublishAsyncMaxPending(4000))
	if err != nil {
		b.Fatal(err)
	}
	store := s.open(b, jetstream.Config{Context: c})
	defer store.Close()
	ref := holdfast.Ref{Type: "bench", ID: "scattered"}
	var h persistence.Head
	answers := make(chan persistence.Head, 1)
	for range scattered {
		fill(b, js, c, n/scattered, size)
		h = appendTo(b, store, ref, h, answers)
	}
	return ref
}

// bytesRead is how many bytes this process, in which the server runs, has read so far.
func bytesRead(b *testing.B) int64 {
	b.Helper()
	f, err := os.Open("/proc/self/io")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), "rchar: "); ok {
			count, err := strconv.ParseInt(n, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return count
		}
	}
	b.Fatal("/proc/self/io has no rchar")
	return 0
}

// read measures one way to read the aggregate's commits.
func measure(b *testing.B, read func() int) (time.Duration, float64) {
	b.Helper()
	before, start := bytesRead(b), time.Now()
	if n := read(); n != scattered {
		b.Fatalf("read %d commits, want %d", n, scattered)
	}
	return time.Since(start), float64(bytesRead(b)-before) / 1e6
}

func loadCount(b *testing.B, store *jetstream.Store, ref holdfast.Ref) func() int {
	return func() int {
		l, err := store.Load(b.Context(), ref, "f")
		if err != nil {
			b.Fatal(err)
		}
		return len(l.Commits)
	}
}

// filtered reads the same commits as one would without a trail: by a filter, in one
// batch.
func filtered(b *testing.B, nc *nats.Conn, c messages.Context, ref holdfast.Ref) func() int {
	request := fmt.Appendf(nil, `{"next_by_subj":%q,"seq":1,"batch":1000}`, logSubject(b, c, ref, 1))
	return func() int {
		inbox := nc.NewInbox()
		sub, err := nc.SubscribeSync(inbox)
		if err != nil {
			b.Fatal(err)
		}
		defer sub.Unsubscribe()
		if err := nc.PublishRequest("$JS.API.DIRECT.GET."+c.LogStream(0), inbox, request); err != nil {
			b.Fatal(err)
		}
		for n := 0; ; n++ {
			m, err := sub.NextMsg(time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			if m.Header.Get("Status") != "" {
				return n
			}
		}
	}
}

// A spread is a log of some length with what reading the aggregate from it took.
type spread struct {
	name         string
	s            *servers
	ref          holdfast.Ref
	ours, theirs []time.Duration
	read, filter float64 // MB that the server read the last time
}

// BenchmarkLoadScattered loads an aggregate of 10 commits, each in another block, from
// logs of several lengths, turn by turn: right after the server was restarted, and with
// everything in its memory. Beside it stands the same by a filtered batch read.
func BenchmarkLoadScattered(b *testing.B) {
	var logs []*spread
	for _, n := range []int{100_000, 300_000, 1_000_000} {
		s := startServers(b, 1, func(c *natsd.Config) { c.RelaxedSync = true })
		logs = append(logs, &spread{name: fmt.Sprintf("%dk", n/1000), s: s, ref: scatter(b, s, "scattered", n, 1000)})
	}
	b.Run("restarted", func(b *testing.B) {
		const rounds = 9
		for range rounds {
			for _, l := range logs {
				l.restarted(b)
			}
		}
		reportAll(b, logs)
	})
	b.Run("cached", func(b *testing.B) {
		const rounds = 200
		var turns []func()
		for _, l := range logs {
			l.ours, l.theirs = nil, nil
			turns = append(turns, l.cached(b))
		}
		for range rounds {
			for _, turn := range turns {
				turn()
			}
		}
		reportAll(b, logs)
	})
}

// restarted restarts the server before every read, since the first one warms it up.
func (l *spread) restarted(b *testing.B) {
	l.s.restart(b, func() {})
	store := l.s.open(b, jetstream.Config{Context: "scattered"})
	d, read := measure(b, loadCount(b, store, l.ref))
	l.ours, l.read = append(l.ours, d), read
	store.Close()
	l.s.restart(b, func() {})
	d, read = measure(b, filtered(b, l.s.connect(b, 0), "scattered", l.ref))
	l.theirs, l.filter = append(l.theirs, d), read
}

// cached warms the server up, and gives what reads once more.
func (l *spread) cached(b *testing.B) func() {
	store, nc := l.s.open(b, jetstream.Config{Context: "scattered"}), l.s.connect(b, 0)
	batch, load := filtered(b, nc, "scattered", l.ref), loadCount(b, store, l.ref)
	batch()
	load()
	return func() {
		d, read := measure(b, load)
		l.ours, l.read = append(l.ours, d), read
		d, read = measure(b, batch)
		l.theirs, l.filter = append(l.theirs, d), read
	}
}

func reportAll(b *testing.B, logs []*spread) {
	for b.Loop() { // it has been measured: what must not be counted lies in between
	}
	b.ReportMetric(0, "ns/op")
	for _, l := range logs {
		b.Logf("%5s: load %v reading %.1f MB, filtered %v reading %.1f MB, load/filtered %.3f", l.name,
			p50(l.ours), l.read, p50(l.theirs), l.filter, float64(p50(l.ours))/float64(p50(l.theirs)))
	}
	first, last := logs[0], logs[len(logs)-1]
	b.ReportMetric(float64(p50(last.ours))/float64(p50(first.ours)), last.name+"/"+first.name)
	b.ReportMetric(float64(p50(last.ours).Microseconds()), last.name+"-µs")
	b.ReportMetric(last.read, last.name+"-MB")
}

// BenchmarkLoadInterleaved loads an aggregate of 10 commits between which 10,000 other
// aggregates have one each, so that several are in each block.
func BenchmarkLoadInterleaved(b *testing.B) {
	s := startServers(b, 1, func(c *natsd.Config) { c.RelaxedSync = true })
	l := &spread{name: "100k", s: s, ref: scatter(b, s, "scattered", 100_000, payload)}
	turn := l.cached(b)
	for range 100 {
		turn()
	}
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(p50(l.ours).Microseconds()), "load-µs")
	b.ReportMetric(float64(p50(l.theirs).Microseconds()), "filtered-µs")
	b.ReportMetric(float64(p50(l.ours))/float64(p50(l.theirs)), "load/filtered")
}

// BenchmarkLoad10000 loads a history of 10,000 commits without a snapshot, and with one
// at 9,950.
func BenchmarkLoad10000(b *testing.B) {
	s := startServers(b, 1, func(c *natsd.Config) { c.RelaxedSync = true })
	store := s.open(b, jetstream.Config{Context: "long"})
	ref := holdfast.Ref{Type: "bench", ID: "long"}
	var h, at persistence.Head
	answers := make(chan persistence.Head, 1)
	for n := range 10_000 {
		if n == 9_950 {
			at = h
		}
		h = appendTo(b, store, ref, h, answers)
	}
	err := store.SaveSnapshot(b.Context(), ref, persistence.Snapshot{Head: at, Fingerprint: "f", State: make([]byte, payload)})
	if err != nil {
		b.Fatal(err)
	}
	for name, c := range map[string]struct {
		fingerprint string
		commits     int
	}{"without a snapshot": {"", 10_000}, "snapshot at 9950": {"f", 50}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l, err := store.Load(b.Context(), ref, c.fingerprint)
				if err != nil || len(l.Commits) != c.commits {
					b.Fatalf("%d commits, %v", len(l.Commits), err)
				}
			}
			b.ReportMetric(float64(b.N*c.commits)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}
