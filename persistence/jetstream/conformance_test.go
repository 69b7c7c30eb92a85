package jetstream_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

// conform runs the suite on the servers, one context after the other. Where it is run for the
// sake of the race detector, a part of the commits shows as much.
func conform(t *testing.T, s *servers, many int, coalesced bool, adapt func(*persistencetest.Log, jetstream.Config)) {
	t.Helper()
	if testing.Short() {
		many = min(many, 300) // more than one load asks for at a time
	}
	n := 0
	persistencetest.Run(t, func(t testing.TB) *persistencetest.Log {
		n++
		cfg := jetstream.Config{Context: messages.Context(fmt.Sprintf("suite-%d", n)), Partitions: 3, SyncAlways: coalesced}
		l := s.log(t, cfg)
		l.Many = many
		if adapt != nil {
			adapt(l, cfg)
		}
		return l
	})
}

func TestConformanceOnOneServer(t *testing.T) {
	t.Parallel()
	for _, coalesced := range []bool{false, true} {
		t.Run(fmt.Sprintf("coalesced=%t", coalesced), func(t *testing.T) { conformOnOneServer(t, coalesced) })
	}
}

func conformOnOneServer(t *testing.T, coalesced bool) {
	s := startServers(t, 1, func(c *natsd.Config) { c.Listen = "127.0.0.1:0" })
	conform(t, s, 1000, coalesced, func(l *persistencetest.Log, cfg jetstream.Config) {
		l.Lose = func(t testing.TB, ref holdfast.Ref, at holdfast.Position) {
			t.Helper()
			loaded := mustLoad(t, l.Store, ref)
			l.Store.(*jetstream.Store).Close()
			s.restart(t, func() {
				for _, c := range loaded.Commits {
					if c.Position == at {
						flip(t, s.list[0].Config().DataDir, c.Body)
					}
				}
			})
			l.Store = s.open(t, cfg)
		}
	})
}

func TestConformanceOnThreeServers(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	conform(t, s, 400, false, nil)
}

func TestOnThreeServers(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	for _, c := range onThree {
		t.Run(c.name, func(t *testing.T) { c.test(t, s) })
	}
}
