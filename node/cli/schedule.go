package cli

// An outcome says what became of a line; progress files have it as it is.
type outcome byte

const (
	pending   outcome = '.' // not settled, as far as anybody knows
	blank     outcome = '-' // settled: no command
	accepted  outcome = 'a' // settled, as are the four that follow
	duplicate outcome = 'd' // accepted, and had been before
	rejected  outcome = 'r' // by the domain
	failed    outcome = 'f' // a final answer other than the domain's no
	malformed outcome = 'm' // not sent
	open      outcome = 'o' // not settled: the next run is to try again; never on record
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
	case pending, blank, open:
	}
}

func (c counts) total() int {
	return c.Accepted + c.Duplicates + c.Rejected + c.Failed + c.Malformed
}

// limits bound what a schedule holds.
type limits struct {
	window  int // lines from the first unsettled one to the last one taken in
	bytes   int // of the data of lines that wait
	loose   int // lines that are settled but perhaps not durable, when another one is sent
	stopped int // aggregates that may have been stopped by a failure
}

var defaultLimits = limits{window: 8192, bytes: 16 << 20, loose: 512, stopped: 10_000}

// A schedule decides which line may be sent next and when the record must be synced. It
// is a state machine without I/O; the package's documentation says what it guarantees.
type schedule struct {
	limits limits
	keeps  bool // there is a record to keep

	last   int       // number of the last line taken in
	passed int       // all lines up to here are settled or open
	window []outcome // of the lines after passed, up to last
	bytes  int

	settled int // how many lines that were sent are settled
	durable int // how many of them, the first ones, surely are so durably

	lanes   map[string]*lane
	ready   []*lane // whose first line may be sent
	held    []*lane // whose first line has to wait for a sync
	stopped int     // lanes that a failure has stopped
}

// A lane has the lines of one aggregate.
type lane struct {
	// queue has the lines to send. A nil stands for a line that an earlier run has settled.
	queue  []*line
	busy   bool // a line is under way
	listed bool // in ready or in held
	from   int  // of a stopped lane: the line that failed; otherwise 0

	settled int // the schedule's settled, when this lane's last line was
	hold    int // how much of that must be durable before the next line is sent
}

func newSchedule(l limits, keeps bool) *schedule {
	return &schedule{limits: l, keeps: keeps, lanes: map[string]*lane{}}
}

// full reports whether lines have to be settled before another one is taken in.
func (s *schedule) full() bool {
	return s.last-s.passed >= s.limits.window || s.bytes >= s.limits.bytes
}

// finished reports whether all lines that were taken in are settled or open.
func (s *schedule) finished() bool { return s.passed == s.last }

// pass takes in the next line when there is nothing to send.
func (s *schedule) pass(o outcome) {
	s.last++
	s.window = append(s.window, o)
	s.advance()
}

// skip takes in the next line, which an earlier run has settled; ref may be empty when
// all lines before it are settled too.
func (s *schedule) skip(o outcome, ref string) {
	s.pass(o)
	if la := s.lanes[ref]; la != nil {
		la.queue = append(la.queue, nil)
		s.offer(la)
	}
}

// take takes in the next line, to be sent. It gives the line that stopped the aggregate
// if one did; then l is open.
func (s *schedule) take(l *line) (stoppedBy int) {
	la := s.lanes[l.ref]
	if la == nil {
		la = &lane{}
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
	if len(s.ready) == 0 || s.keeps && s.settled-s.durable >= s.limits.loose {
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
	s.settled++
	la.settled = s.settled
	if !remembered {
		la.hold = s.settled
	}
	s.advance()
	s.offer(la)
	if !s.keeps && len(la.queue) == 0 {
		delete(s.lanes, l.ref)
	}
	return nil
}

func (s *schedule) stop(la *lane, from int) (behind []*line) {
	la.from = from
	s.stopped++
	for _, l := range la.queue {
		if l != nil {
			behind = append(behind, l)
			s.bytes -= l.size()
			s.set(l.number, open)
		}
	}
	la.queue = nil
	return behind
}

func (s *schedule) set(number int, o outcome) { s.window[number-s.passed-1] = o }

func (s *schedule) advance() {
	for len(s.window) > 0 && s.window[0] != pending {
		s.window = s.window[1:]
		s.passed++
	}
}

// offer lists the lane if its first line may be sent, or when a sync allows.
func (s *schedule) offer(la *lane) {
	if la.busy || la.listed {
		return
	}
	// Beyond a line that is on record already, how far back the lines before it are is not
	// bounded by limits.loose.
	for len(la.queue) > 0 && la.queue[0] == nil {
		la.queue = la.queue[1:]
		la.hold = la.settled
	}
	if len(la.queue) == 0 {
		return
	}
	la.listed = true
	if s.keeps && la.hold > s.durable {
		s.held = append(s.held, la)
		return
	}
	s.ready = append(s.ready, la)
}

// due reports whether the record should be synced now: lines wait for it, or soon will.
func (s *schedule) due() bool {
	return s.keeps && (len(s.held) > 0 || s.settled-s.durable > s.limits.loose/2)
}

// synced tells that the record is durable as it was when so many lines were settled.
func (s *schedule) synced(settled int) {
	s.durable = settled
	for ref, la := range s.lanes {
		if la.from == 0 && !la.busy && len(la.queue) == 0 && la.settled <= settled {
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
