package cli

import (
	"maps"
	"sort"
)

// An outcome says what became of a line.
type outcome byte

const (
	pending   outcome = iota
	skipped           // settled by an earlier run, or no command at all
	accepted          // settled, as are the four that follow
	duplicate         // accepted, and had been before
	rejected          // by the domain
	failed            // a final answer other than the domain's no
	malformed         // not sent
	open              // not settled: the next run is to try again
)

// counts are of settled lines.
type counts struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`
	Rejected   int `json:"rejected"`
	Failed     int `json:"failed"`
	Malformed  int `json:"malformed"`
}

func (c *counts) add(o outcome) {
	switch o {
	case accepted:
		c.Accepted++
	case duplicate:
		c.Duplicates++
	case rejected:
		c.Rejected++
	case failed:
		c.Failed++
	case malformed:
		c.Malformed++
	case pending, skipped, open:
	}
}

func (c counts) total() int {
	return c.Accepted + c.Duplicates + c.Rejected + c.Failed + c.Malformed
}

// limits bound what a schedule holds.
type limits struct {
	window  int // lines from the first unsettled one to the last one taken in
	bytes   int // of the data of lines that wait
	perRef  int // lines of one aggregate that are settled but not on record
	perSave int // lines that are settled before they are put on record
	stopped int // aggregates that may have been stopped by a failure
}

var defaultLimits = limits{window: 8192, bytes: 16 << 20, perRef: 256, perSave: 512, stopped: 10_000}

// A schedule decides which line may be sent next and what may be put on record. It is
// a state machine without I/O; the package's documentation says what it guarantees.
type schedule struct {
	limits limits
	keeps  bool   // there is a record to keep
	begun  record // what was on record when the run began

	last    int       // number of the last line taken in
	passed  int       // all lines up to here are settled or open
	window  []outcome // of the lines after passed, up to last
	passing counts    // of the lines that this run settled, up to passed
	bytes   int
	fresh   int // settled since the last record was made

	lanes   map[string]*lane
	ready   []*lane        // whose first line may be sent
	held    []*lane        // whose first line has to wait for the record
	carried map[string]int // begun.Stopped, for as long as it says more than begun.Settled
	stopped int            // lanes that a failure has stopped
}

// A lane has the lines of one aggregate.
type lane struct {
	ref    string
	queue  []*line
	busy   bool // a line is under way
	listed bool // in ready or in held
	from   int  // of a stopped lane: the line that failed; otherwise 0

	done       []mark // settled by this run, after passed
	unrecorded int    // the last line whose outcome the log does not remember
	safe       int    // lines up to here are settled on record
}

type mark struct {
	number  int
	outcome outcome
}

func newSchedule(l limits, keeps bool, begun record) *schedule {
	s := &schedule{limits: l, keeps: keeps, begun: begun, lanes: map[string]*lane{}, carried: map[string]int{}}
	maps.Copy(s.carried, begun.Stopped)
	return s
}

// full reports whether lines have to be settled before another one is taken in.
func (s *schedule) full() bool {
	return s.last-s.passed >= s.limits.window || s.bytes >= s.limits.bytes
}

// finished reports whether all lines that were taken in are settled or open.
func (s *schedule) finished() bool { return s.passed == s.last }

// pass takes in the next line when there is nothing to send: it is skipped, malformed,
// or open because its aggregate is stopped.
func (s *schedule) pass(o outcome) {
	s.last++
	s.window = append(s.window, o)
	if o == malformed {
		s.fresh++
	}
	s.advance()
}

// take takes in the next line. It gives the line that stopped the aggregate if one
// did; then l is open.
func (s *schedule) take(l *line) (stoppedBy int) {
	if s.begun.settled(l.number, l.ref) {
		s.pass(skipped)
		return 0
	}
	la := s.lanes[l.ref]
	if la == nil {
		la = &lane{ref: l.ref}
		s.lanes[l.ref] = la
	}
	if la.from > 0 {
		s.pass(open)
		return la.from
	}
	s.last++
	s.window = append(s.window, pending)
	s.bytes += l.size()
	la.queue = append(la.queue, l)
	s.offer(la)
	return 0
}

// next gives a line to send, or nil. No other line of its aggregate is given before it
// has been settled.
func (s *schedule) next() *line {
	if len(s.ready) == 0 {
		return nil
	}
	la := s.ready[0]
	s.ready = s.ready[1:]
	la.listed, la.busy = false, true
	l := la.queue[0]
	la.queue[0] = nil
	la.queue = la.queue[1:]
	s.bytes -= l.size()
	return l
}

// settle tells how a line that next gave was answered. remembered means that the log
// has its command id. When it is open, the lines that wait behind it are open as well,
// and are given back.
func (s *schedule) settle(l *line, o outcome, remembered bool) (behind []*line) {
	la := s.lanes[l.ref]
	la.busy = false
	s.set(l.number, o)
	if o == open {
		behind = s.stop(la, l.number)
		s.advance()
		return behind
	}
	s.fresh++
	if s.keeps {
		la.done = append(la.done, mark{l.number, o})
		if !remembered {
			la.unrecorded = l.number
		}
		if _, ok := s.carried[l.ref]; ok {
			s.carried[l.ref] = l.number + 1
		}
	}
	s.advance()
	s.offer(la)
	if !s.keeps && len(la.queue) == 0 {
		delete(s.lanes, la.ref)
	}
	return nil
}

func (s *schedule) stop(la *lane, from int) (behind []*line) {
	la.from = from
	s.stopped++
	behind, la.queue = la.queue, nil
	for _, l := range behind {
		s.bytes -= l.size()
		s.set(l.number, open)
	}
	return behind
}

func (s *schedule) set(number int, o outcome) { s.window[number-s.passed-1] = o }

func (s *schedule) advance() {
	for len(s.window) > 0 && s.window[0] != pending {
		s.passing.add(s.window[0])
		s.window = s.window[1:]
		s.passed++
	}
}

// offer lists the lane if its first line may be sent, or when the record allows.
func (s *schedule) offer(la *lane) {
	if la.busy || la.listed || len(la.queue) == 0 {
		return
	}
	la.listed = true
	if s.keeps && (la.unrecorded > la.safe || la.unsafe() >= s.limits.perRef) {
		s.held = append(s.held, la)
		return
	}
	s.ready = append(s.ready, la)
}

// after gives the marks of the lines that come after one.
func (la *lane) after(number int) []mark {
	return la.done[sort.Search(len(la.done), func(i int) bool { return la.done[i].number > number }):]
}

// unsafe counts the settled lines that are not on record.
func (la *lane) unsafe() int { return len(la.after(la.safe)) }

// due reports whether a record should be made now: lines wait for it, or many are to
// be put on it.
func (s *schedule) due() bool {
	return s.keeps && (len(s.held) > 0 || s.fresh >= s.limits.perSave)
}

// record gives what may be put on record now.
func (s *schedule) record() record {
	r := s.begun
	r.Settled = max(s.begun.Settled, s.passed)
	r.Stopped = map[string]int{}
	r.Counts = s.begun.Counts.plus(s.passing)
	for ref, from := range s.carried {
		if s.passed >= s.begun.Settled && s.passed >= from-1 {
			delete(s.carried, ref)
			continue
		}
		r.Stopped[ref] = from
	}
	for ref, la := range s.lanes {
		la.done = la.after(min(s.passed, la.safe))
		tail := la.after(s.passed)
		_, carried := s.carried[ref]
		switch {
		case la.from > 0:
			r.Stopped[ref] = la.from
		case len(tail) == 0:
			continue
		// What is on record must stay on it: la.safe.
		case la.unrecorded > s.passed, la.safe > r.Settled, la.unsafe() >= s.limits.perRef/2:
			r.Stopped[ref] = tail[len(tail)-1].number + 1
		case !carried:
			continue
		}
		for _, m := range tail {
			r.Counts.add(m.outcome)
		}
	}
	s.fresh = 0
	return r
}

// saved tells that r, which record gave, is on record.
func (s *schedule) saved(r record) {
	for ref, la := range s.lanes {
		if from, ok := r.Stopped[ref]; ok {
			la.safe = max(la.safe, from-1)
		} else {
			la.safe = max(la.safe, r.Settled)
		}
		// A lane with lines beyond passed is needed for the records to come.
		if la.from == 0 && !la.busy && len(la.queue) == 0 && len(la.after(min(s.passed, la.safe))) == 0 {
			delete(s.lanes, ref)
		}
	}
	held := s.held
	s.held = nil
	for _, la := range held {
		la.listed = false
		s.offer(la)
	}
}
