package persistencetest

import (
	"cmp"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A Log is an empty log with a store on it, and with what can be done to it from outside
// the store. Whoever opens it sees to it that everything is closed with the test.
type Log struct {
	Context messages.Context
	Store   persistence.Store
	// Others are more stores on the same log, as of other nodes; at least one for the
	// tests of two writers. A store that keeps its log to itself may be its own other.
	Others []persistence.Store
	// Put makes a body the newest message of the aggregate, around all checks.
	Put func(t testing.TB, ref holdfast.Ref, body []byte) holdfast.Position
	// PutSnapshot makes a body the newest snapshot of the aggregate, around all checks.
	PutSnapshot func(t testing.TB, ref holdfast.Ref, body []byte)
	// Lose, if not nil, removes what stands at a position, as a bad disk would.
	Lose func(t testing.TB, ref holdfast.Ref, at holdfast.Position)
	// Reopen, if not nil, ends the store and what it stands on, starts both again, and
	// gives the new store, which is then the log's.
	Reopen func(t testing.TB) persistence.Store
	// Faulty, if not nil, is a store on the same log whose line for appends can fail.
	Faulty *Faulty
	// Many is how many commits stand for very many; default 2,000.
	Many int
}

// A Faulty store is one whose appends go over a line that can fail.
type Faulty struct {
	Store persistence.Store
	Line  Line
}

// A Line carries appends to the log and answers back.
type Line interface {
	// LoseAnswers lets appends arrive, but no answers come back.
	LoseAnswers()
	// LoseRequests lets nothing arrive.
	LoseRequests()
	// HoldRequests keeps back what is sent, until Release lets it arrive late.
	HoldRequests()
	Release()
	// Break breaks the line; the next one is whole.
	Break()
}

// can says what a test needs of a log.
type can func(*Log) bool

func always(*Log) bool    { return true }
func canFail(l *Log) bool { return l.Faulty != nil }
func canReopen(l *Log) bool {
	return l.Reopen != nil
}

func canScan(l *Log) bool {
	_, ok := l.Store.(persistence.Scanner)
	return ok
}

func canFollow(l *Log) bool {
	_, ok := l.Store.(persistence.Follower)
	return ok
}

func canLose(l *Log) bool { return canFollow(l) && l.Lose != nil }

// tests run one after the other on one log.
var tests = []struct {
	name  string
	needs can
	test  func(*testing.T, *Log)
}{
	{"append", always, testAppend},
	{"nothing", always, testNothing},
	{"events in a commit", always, testEvents},
	{"stale head", always, testStale},
	{"racing writers", always, testRace},
	{"concurrent aggregates", always, testConcurrent},
	{"ids of every byte", always, testIDs},
	{"malformed refs", always, testMalformed},
	{"sizes", always, testSizes},
	{"time", always, testTime},
	{"ended context", always, testContext},
	{"many commits", always, testMany},
	{"backwards", always, testBackwards},
	{"replay", always, testReplay},
	{"gap", always, testGap},
	{"loop", always, testLoop},
	{"altered byte", always, testAltered},
	{"foreign commit", always, testForeign},
	{"snapshots", always, testSnapshots},
	{"unusable snapshots", always, testUnusableSnapshots},
	{"snapshot sizes", always, testSnapshotSize},
	{"lost answers", canFail, testLostAnswers},
	{"broken line", canFail, testBrokenLine},
	{"lost requests", canFail, testLostRequests},
	{"late requests", canFail, testLateRequests},
	{"reopen", canReopen, testReopen},
}

// fresh run on a log of their own, since they look at all of it.
var fresh = []struct {
	name  string
	needs can
	test  func(*testing.T, *Log)
}{
	{"scan", canScan, testScan},
	{"verify", canScan, testVerify},
	{"follow", canFollow, testFollow},
	{"follow a long log", canFollow, testFollowMany},
	{"follow a lost record", canLose, testFollowLost},
}

// Run tests the store that open gives, on as many logs as it takes.
func Run(t *testing.T, open func(t testing.TB) *Log) {
	t.Helper()
	l := open(t)
	if l.Many == 0 {
		l.Many = 2000
	}
	for _, c := range tests {
		if c.needs(l) {
			t.Run(c.name, func(t *testing.T) { c.test(t, l) })
		}
	}
	for _, c := range fresh {
		if c.needs(l) {
			t.Run(c.name, func(t *testing.T) {
				own := open(t)
				own.Many = cmp.Or(own.Many, l.Many)
				c.test(t, own)
			})
		}
	}
}
