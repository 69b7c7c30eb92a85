package projectionstest

import (
	"testing"

	"github.com/holdfast-run/holdfast/projections"
)

// A Place is where nothing has been kept yet, with a sink on it. Whoever opens it sees to it
// that everything is closed with the test.
type Place struct {
	Sink projections.Sink
	// Others are more sinks on the same place, as of other nodes; at least one for the tests
	// of two writers. A sink that keeps everything to itself may be its own other.
	Others []projections.Sink
	// Reopen, if not nil, ends the sink and gives a new one on the same place, which is then
	// the place's.
	Reopen func(t testing.TB) projections.Sink
}

// can says what a test needs.
type can func(*stage) bool

func always(*stage) bool      { return true }
func hasOthers(s *stage) bool { return len(s.others) > 0 }
func canReopen(s *stage) bool { return s.reopen != nil }
func docs(s *stage) bool      { return s.form == projections.FormDocuments }
func rows(s *stage) bool      { return s.form == projections.FormRows }

// tests run one after the other on one place, each with a projection of its own.
var tests = []struct {
	name  string
	needs can
	test  func(*testing.T, *stage)
}{
	{"nothing", always, testNothing},
	{"not prepared", always, testNotPrepared},
	{"commit", always, testCommit},
	{"checkpoint alone", always, testCheckpointAlone},
	{"stale checkpoint", always, testStale},
	{"two writers", hasOthers, testTwoWriters},
	{"racing writers", hasOthers, testRace},
	{"all or nothing", always, testAllOrNothing},
	{"lost answer", always, testLostAnswer},
	{"resets", always, testResets},
	{"units", always, testUnits},
	{"shared by units", always, testShared},
	{"shared by nodes", hasOthers, testSharedByNodes},
	{"many events", always, testMany},
	{"ended context", always, testEnded},
	{"context ends in a batch", always, testEndsWithin},
	{"parked", always, testParked},
	{"parked again", always, testParkedAgain},
	{"parked of odd names", always, testParkedOdd},
	{"parked by many", always, testParkedMany},
	{"unparked", always, testUnparked},
	{"not parked any more", always, testGone},
	{"parked keys", always, testParkedKeys},
	{"large record parked", always, testParkedLarge},
	{"drained late", always, testDrained},
	{"outbox", always, testOutbox},
	{"outbox in order", always, testOutboxOrder},
	{"generations", always, testGenerations},
	{"serve", always, testServe},
	{"drop", always, testDrop},
	{"reopen", canReopen, testReopen},

	{"documents", docs, testDocuments},
	{"removed", docs, testRemoved},
	{"odd keys", docs, testOddKeys},
	{"large documents", docs, testLarge},
	{"document that refuses", docs, testRefuses},
	{"no tables", docs, testNoTables},
	{"tables", rows, testTables},
	{"a statement that fails", rows, testBadStatement},
	{"query", rows, testQuery},
}

// Run tests the sink that open gives.
func Run(t *testing.T, open func(t testing.TB) *Place) {
	t.Helper()
	p := open(t)
	for _, form := range []projections.Form{projections.FormDocuments, projections.FormRows} {
		if !p.Sink.Takes(form) {
			continue
		}
		for i, c := range tests {
			s := newStage(p, form, i)
			if c.needs(s) {
				t.Run(string(form)+"/"+c.name, func(t *testing.T) {
					prepare(t, p.Sink, s.p, 1)
					c.test(t, s)
				})
			}
		}
	}
}
