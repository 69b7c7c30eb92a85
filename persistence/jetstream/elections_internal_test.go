package jetstream

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
)

// unledCases are how often there is no leader, how often it may be asked or sent at most, and
// what comes of it.
var unledCases = []struct {
	refusals, most int
	want           holdfast.Code
}{{2, 3, ""}, {1000, maxUnled + 2, holdfast.CodeUnavailable}}

// A question that JetStream has no leader for is asked again, but not for ever.
func TestReadWithoutLeader(t *testing.T) {
	testUnledRead(t, "leader", func(f *fake, m *nats.Msg) { f.respond(m, f.refusal(codeNotAvailable)) })
}

// So is one for which the asked server knows of no replica.
func TestReadWithoutReplica(t *testing.T) {
	testUnledRead(t, "direct", func(f *fake, m *nats.Msg) { f.send(m, nil, nats.Header{"Status": {"503"}}) })
}

func testUnledRead(t *testing.T, of string, refuse func(*fake, *nats.Msg)) {
	on := newSite(t)
	for _, c := range unledCases {
		f := on.fake(t)
		f.store.partitions[0].replicated = true
		f.grow(2)
		asked := 0
		f.read = func(m *nats.Msg) bool {
			if !strings.HasSuffix(m.Subject, of) {
				return true
			}
			if asked++; asked > c.refusals {
				return true
			}
			refuse(f, m)
			return false
		}
		loaded := make(chan result, 1)
		go func() {
			l, err := f.store.Load(t.Context(), fakeRef, "")
			if err == nil && l.Head.Version != 2 {
				err = fmt.Errorf("loaded %+v", l.Head)
			}
			loaded <- result{l.Head, err}
		}()
		// The slower they are, the more of the ticks are waited for.
		if err := f.endTicking(loaded).err; holdfast.CodeOf(err) != c.want || asked < 2 || asked > c.most {
			t.Errorf("asked %d times: %v; want at most %d and %q", asked, err, c.most, c.want)
		}
	}
}

// An append that nobody takes is sent again, but not for ever, and is then known to be
// nowhere.
func TestAppendWithoutLeader(t *testing.T) {
	on := newSite(t)
	for _, c := range unledCases {
		f := on.fake(t)
		f.store.partitions[0].replicated = true
		sent := 0
		f.publish = func(m *nats.Msg) {
			if sent++; sent > c.refusals {
				f.accept(m)
				return
			}
			f.send(m, nil, nats.Header{"Status": {"503"}})
		}
		appended := f.begin(f.head())
		if err := f.endTicking(appended).err; holdfast.CodeOf(err) != c.want || sent < 2 || sent > c.most {
			t.Errorf("sent %d times: %v; want at most %d and %q", sent, err, c.most, c.want)
		}
	}
}
