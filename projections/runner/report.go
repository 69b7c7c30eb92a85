package runner

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
)

// told is what a unit tells of itself.
type told struct {
	news     chan struct{} // has room for one: the unit stands otherwise than before
	mu       sync.Mutex
	state    State // empty: it goes on
	reason   string
	event    string
	since    time.Time
	parked   int
	orders   uint64
	outbox   string
	missing  string             // why the sink does not answer that is idle
	missed   time.Time          // since when
	inside   bool               // a transaction is under way
	handling []projections.Item // those that are handled in it
}

func (t *told) set(s State, reason, event string, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == s && t.since.Before(since) && s != Paused {
		since = t.since
	}
	if t.state != s || t.reason != reason || t.event != event {
		t.changed()
	}
	t.state, t.reason, t.event, t.since = s, reason, event, since
}

func (t *told) work(items []projections.Item, inside bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handling, t.inside = items, inside
}

func (t *told) park(keys int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.parked = keys
}

func (t *told) ordered(n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n > t.orders {
		t.orders = n
		t.changed()
	}
}

func (t *told) carry(reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outbox = reason
}

// resume ends a pause, and keep whatever kept the unit from going on.
func (t *told) resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == Paused {
		t.state, t.reason, t.event, t.since = "", "", "", time.Time{}
		t.changed()
	}
}

// changed has the status told at once.
func (t *told) changed() {
	select {
	case t.news <- struct{}{}:
	default:
	}
}

func (u *unit) tell(s State, reason, event string) {
	u.told.set(s, reason, event, u.runner.config.Now().UTC())
}

func (u *unit) keep() {
	t := &u.told
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != "" {
		t.changed()
	}
	t.state, t.reason, t.event, t.since, t.parked = "", "", "", time.Time{}, len(u.parked)
}

const (
	// look is how often it is looked at how a unit stands, and hangs how often the same must
	// be seen before a handler, or the sink, is said to hang.
	look  = 250 * time.Millisecond
	hangs = 5
	// tellEvery is how often a status is told that changes, and sign one that does not, as a
	// sign of life.
	tellEvery = time.Second
	sign      = 4 * time.Second
	// silence is how long after its last sign of life it is not known how a unit stands.
	silence = 15 * time.Second
)

// A watch looks whether something hangs.
type watch struct {
	steps uint64
	item  int64
	same  int // how often in a row the same was seen
}

// see tells for how many looks the same event has been handled, or the sink been waited for.
func (w *watch) see(inside bool, steps uint64, item int64) int {
	if !inside || w.steps != steps || w.item != item {
		*w = watch{steps, item, 0}
		return 0
	}
	w.same++
	return w.same
}

// report tells how the unit stands, until ctx ends: at once when it says so itself, and when it
// is looked at.
func (u *unit) report(ctx context.Context) {
	ticks := time.NewTicker(look)
	defer ticks.Stop()
	var w watch
	var m meter
	var last UnitStatus
	var at time.Time
	for looking := true; ; {
		now := u.runner.config.Now()
		seen := w
		s := u.status(now, &seen, &m)
		if looking { // what it says itself is no look at whether something hangs
			w = seen
		}
		since := now.Sub(at)
		if at.IsZero() || s.differs(last) || since >= sign || since >= tellEvery && s != last {
			if u.runner.config.Register.tell(ctx, u.key(), u.id.Projection, s) == nil {
				last, at = s, now
			}
		}
		select {
		case <-ticks.C:
			looking = true
		case <-u.told.news:
			looking = false
		case <-ctx.Done():
			if u.runner.stopping.Load() {
				u.farewell(s)
			}
			return
		}
	}
}

// farewell tells that the node ends, which leaves the unit to another one.
func (u *unit) farewell(s UnitStatus) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.State, s.Event, s.Since, s.Rate, s.Left, s.Silent = Stopped, "", u.runner.config.Now().UTC(), 0, 0, true
	s.Reason = "the node " + s.Node + " has ended, and no other one has gone on yet"
	s.Position = u.position(u.progress.get()).String()
	if err := u.runner.config.Register.tell(ctx, u.key(), u.id.Projection, s); err != nil {
		u.log.Debug("that this node ends cannot be told", "error", err)
	}
}

// differs reports whether it has to be told at once.
func (s UnitStatus) differs(from UnitStatus) bool {
	return s.State != from.State || s.Reason != from.Reason || s.Event != from.Event || s.Parked != from.Parked ||
		s.Orders != from.Orders || s.Outbox != from.Outbox
}

// status says how the unit stands.
func (u *unit) status(now time.Time, w *watch, m *meter) UnitStatus {
	rec, _ := u.record()
	t := &u.told
	t.mu.Lock()
	defer t.mu.Unlock()
	// While nothing else can be told: one that is paused, or blocked, is told of where it stands so.
	done := u.progress.get()
	end, before := u.runner.ends(u.id.Partition)
	end = max(end, done, u.target.Load())
	m.read(now, done, end, max(before, u.target.Load()))
	s := UnitStatus{
		Generation: u.id.Generation, Partition: u.id.Partition, Shard: u.id.Shard, Node: u.runner.config.Node,
		Position: u.position(done).String(), Behind: end - done, Rate: math.Round(m.rate), Left: math.Ceil(m.left),
	}
	s.Parked, s.Outbox, s.Orders = t.parked, t.outbox, t.orders
	item := u.item.Load()
	looks := w.see(t.inside, u.steps.Load(), item)
	waited := (time.Duration(looks) * look).Truncate(time.Second)
	switch {
	case looks >= hangs && item >= 0 && int(item) < len(t.handling):
		i := t.handling[item]
		s.State, s.Event, s.Since = Blocked, i.ID, now.Add(-time.Duration(looks)*look).UTC().Truncate(time.Second)
		s.Reason = fmt.Sprintf("the handler of %s has been at event %s for %v", i.Name, i.ID, waited)
	case looks >= hangs:
		s.State, s.Since = Blocked, now.Add(-time.Duration(looks)*look).UTC().Truncate(time.Second)
		s.Reason = fmt.Sprintf("the sink has not answered for %v", waited)
	case t.state != "":
		s.State, s.Reason, s.Event, s.Since = t.state, t.reason, t.event, t.since
	case t.missing != "":
		s.State, s.Reason, s.Since = Blocked, t.missing, t.missed
	case m.live && u.ready.Load():
		s.State = Live
	case rec.Building == u.id.Generation:
		s.State = Rebuilding
	default:
		s.State = CatchingUp
	}
	if s.State != CatchingUp && s.State != Rebuilding {
		s.Left = 0
	}
	return s
}

// A meter tells how fast a unit is.
type meter struct {
	at    time.Time // of the last reading
	done  uint64
	end   uint64
	rate  float64 // commits a second
	left  float64 // seconds; 0 when that cannot be said
	live  bool
	known bool
}

// read takes in how far the unit is, where the log ends, and where it ended a while before.
func (m *meter) read(now time.Time, done, end, before uint64) {
	m.live = done >= before
	if m.at.IsZero() || done < m.done {
		*m = meter{at: now, done: done, end: end, live: m.live}
		return
	}
	took := now.Sub(m.at).Seconds()
	if took < 1 {
		return
	}
	rate, growth := float64(done-m.done)/took, float64(end-min(end, m.end))/took
	if m.known {
		rate = (m.rate + rate) / 2
	}
	left := 0.0
	if net := rate - growth; net >= 1 && end > done {
		left = float64(end-done) / net
	}
	*m = meter{at: now, done: done, end: end, rate: rate, left: left, live: m.live, known: true}
}

// key is that of the unit's status.
func (u *unit) key() string {
	node := ""
	if u.sink.Local() {
		node = u.runner.config.Node
	}
	return unitKey(u.id, node)
}

// unitKey is the key of a unit's status: with the node where each has its own.
func unitKey(u projections.Unit, node string) string {
	key := fmt.Sprintf("%s%s.%d.%d.%d", unitKeys, u.Projection, u.Generation, u.Partition, u.Shard)
	if id, err := messages.EncodeID(node); err == nil {
		key += "." + id.String()
	}
	return key
}
