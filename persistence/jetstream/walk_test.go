package jetstream_test

import (
	"bytes"
	"fmt"
	"maps"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// dense appends n commits that follow one another in the log.
func dense(t *testing.T, store *jetstream.Store, ref holdfast.Ref, n int) persistence.Head {
	t.Helper()
	var h persistence.Head
	for range n {
		h = mustAppend(t, store, ref, h)
	}
	return h
}

// requests gives the direct requests that come to a log.
func requests(t *testing.T, s *servers, c messages.Context) chan *nats.Msg {
	t.Helper()
	out := make(chan *nats.Msg, 10_000)
	nc := s.connect(t, 0)
	if _, err := nc.ChanSubscribe("$JS.API.DIRECT.GET."+c.LogStream(0), out); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestLoadAsksForManyAtOnce: what stands side by side takes few requests; what does not, one
// each. None is asked for twice.
func TestLoadAsksForManyAtOnce(t *testing.T) {
	s := startServers(t, 1, func(c *natsd.Config) { c.RelaxedSync = true })
	cfg := jetstream.Config{Context: "many"}
	store := s.open(t, cfg)
	side := holdfast.Ref{Type: "t", ID: "side-by-side"}
	apart, other := holdfast.Ref{Type: "t", ID: "apart"}, holdfast.Ref{Type: "t", ID: "other"}
	heads := map[holdfast.Ref]persistence.Head{side: dense(t, store, side, 500)}
	for range 100 {
		heads[apart], heads[other] = mustAppend(t, store, apart, heads[apart]), mustAppend(t, store, other, heads[other])
	}
	asked := requests(t, s, cfg.Context)
	// Until it is known how many there are, a few may be asked for one by one.
	for ref, most := range map[holdfast.Ref]int{side: 1 + 2 + 7, apart: 1 + 99} {
		for len(asked) > 0 {
			<-asked
		}
		l, err := store.Load(t.Context(), ref, "")
		if err != nil || !l.Head.Equal(heads[ref]) || len(l.Commits) != int(heads[ref].Version) {
			t.Fatalf("%s: %d commits up to version %d, %v", ref, len(l.Commits), l.Head.Version, err)
		}
		if n := len(asked); n > most {
			t.Errorf("%s: %d requests for %d commits, want at most %d", ref, n, len(l.Commits), most)
		}
	}
}

// TestLoadOfWhatIsTooMuchAtOnce has commits of which a server gives but a part at a time.
func TestLoadOfWhatIsTooMuchAtOnce(t *testing.T) {
	s := startServers(t, 1, func(c *natsd.Config) { c.RelaxedSync = true })
	store := s.open(t, jetstream.Config{Context: "large"})
	ref := holdfast.Ref{Type: "t", ID: "a"}
	var h persistence.Head
	answers := make(chan persistence.Head, 1)
	for i := range 60 {
		data := bytes.Repeat([]byte{byte(i)}, 100_000)
		changes := []*messages.Change{{CommandId: fmt.Sprint(i), Events: []*messages.Event{{Type: "test.Done", Schema: messages.SchemaProtobuf, Data: data}}}}
		store.Append(ref, h, changes, func(h persistence.Head, err error) {
			if err != nil {
				t.Error(err)
			}
			answers <- h
		})
		h = <-answers
	}
	asked := requests(t, s, "large")
	l, err := store.Load(t.Context(), ref, "")
	if err != nil || !l.Head.Equal(h) || len(l.Commits) != 60 {
		t.Fatalf("%d commits up to version %d, %v", len(l.Commits), l.Head.Version, err)
	}
	if n := len(asked); n > 12 {
		t.Errorf("%d requests for 60 commits of which a tenth fits into an answer", n)
	}
	for i, c := range l.Commits {
		if got := c.Changes[0].Events[0].Data[0]; got != byte(i) {
			t.Fatalf("commit %d is that of %d", i, got)
		}
	}
}

// TestByteFlippedSideBySide damages one of many commits that are asked for together.
func TestByteFlippedSideBySide(t *testing.T) {
	cfg := jetstream.Config{Context: "side"}
	s := startServers(t, 1)
	store := s.open(t, cfg)
	damaged := map[holdfast.Ref]persistence.Commit{}
	for _, i := range []int{0, 1, 20, 21, 98} {
		ref := holdfast.Ref{Type: "t", ID: fmt.Sprint(i)}
		dense(t, store, ref, 100)
		l, err := store.Load(t.Context(), ref, "")
		if err != nil {
			t.Fatal(err)
		}
		damaged[ref] = l.Commits[i]
	}
	store.Close()
	s.damage(t, 0, maps.Values(damaged))
	store = s.open(t, cfg)
	for ref, c := range damaged {
		_, err := store.Load(t.Context(), ref, "")
		wantCorruptAt(t, err, ref, c, false)
		var got counted
		_, err = store.Replay(t.Context(), ref, "", &got)
		wantCorruptAt(t, err, ref, c, false)
		if got.version >= c.FirstVersion {
			t.Errorf("%s: version %d is handed over, and %d is damaged", ref, got.version, c.FirstVersion)
		}
	}
}

// counted counts what is handed over.
type counted struct {
	begun, commits int
	version        uint64 // the last one
}

func (c *counted) Begin(*persistence.Snapshot) error {
	*c = counted{begun: c.begun + 1}
	return nil
}

func (c *counted) Add(next persistence.Commit) error {
	if next.FirstVersion != c.version+1 {
		return fmt.Errorf("version %d comes after %d", next.FirstVersion, c.version)
	}
	c.commits, c.version = c.commits+1, next.LastVersion
	return nil
}
