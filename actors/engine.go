package actors

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// phase is where an engine stands.
type phase uint8

const (
	phaseNew       phase = iota // nothing is known of the aggregate
	phaseLoading                // the log is being read
	phaseReady                  // the state is known, and nothing is under way
	phaseAppending              // one commit is on its way to the log
	phaseCorrupt                // the log cannot be trusted: every request is refused
	phaseStopped
)

// maxTries is how many commits of a command may come to nothing before it is given up,
// and maxDoubts how many of them in doubt.
const (
	maxTries  = 8
	maxDoubts = 4
)

// minPassivationEvents is how many events must have come since the last snapshot for one
// to be worth taking on passivation: a load always reads the last commit, and beside it the
// snapshot, but has to ask once more for what lies between them.
const minPassivationEvents = 2

// maxKept is how long an empty queue may be to be kept for the next burst.
const maxKept = 64

// Settings are what an engine needs to know of its surroundings.
type Settings struct {
	// Queue is how many requests may wait at one aggregate.
	Queue int
	// Limit is how many bytes the changes of one commit may take.
	Limit int
	// Window is how many of an aggregate's last command ids are remembered; 0 is [Window].
	Window int
}

// An Engine is one activation of an aggregate. It is used by one goroutine at a time.
// What a call wants done is taken with Each.
//
// While a commit is on its way, requests queue. When it is durable, all that queued are
// decided one after the other, each on the state that the ones before it lead to, and
// go out as the next commit; each is answered when that is durable.
type Engine struct {
	def      holdfast.Definition
	ref      holdfast.Ref
	settings *Settings

	phase    phase
	draining bool
	bug      error // stops the engine as soon as nothing is under way
	corrupt  error

	// What is durable.
	state    any // while the log is being read, the *Rebuild that makes it
	head     persistence.Head
	recent   recent
	unsaved  int // events since the last snapshot
	noSnap   bool
	finding  int // requests whose id is being looked up
	doubtful bool

	queue    []*Request
	answered int // how many with the last commit
	// What is on its way.
	batch *batch

	effects []Effect
	left    bool // there is more to do when these have been carried out
}

// NewEngine makes the engine of one activation.
func NewEngine(def holdfast.Definition, ref holdfast.Ref, settings *Settings) *Engine {
	return &Engine{def: def, ref: ref, settings: settings, recent: recent{size: settings.Window}}
}

// Each hands over what is to be done, in order, and forgets it. f must not call the
// engine.
func (e *Engine) Each(f func(Effect)) {
	for e.goOn() {
		effects := e.effects
		e.effects = nil
		for _, effect := range effects {
			f(effect)
		}
		clear(effects) // an idle aggregate holds on to nothing
		if cap(effects) <= maxKept {
			e.effects = effects[:0]
		}
	}
}

// goOn does what was left until now, and reports whether there is something to be done.
func (e *Engine) goOn() bool {
	if len(e.effects) == 0 && e.left {
		e.left = false
		e.proceed()
	}
	return len(e.effects) > 0
}

func (e *Engine) do(f Effect) { e.effects = append(e.effects, f) }

func (e *Engine) reply(r *Request, a Answer) {
	r.answer = a
	e.do(Reply{r})
}

func (e *Engine) fail(r *Request, err error) { e.reply(r, Answer{Err: err}) }

// Ask takes a request.
func (e *Engine) Ask(r *Request) {
	r.checked = 0
	switch {
	case e.phase == phaseStopped:
		e.pass(r)
	case e.phase == phaseCorrupt:
		e.fail(r, e.corrupt)
	case r.query() && (e.phase == phaseReady || e.phase == phaseAppending):
		e.show(r)
	case len(e.queue)+e.finding >= e.settings.Queue:
		e.fail(r, holdfast.Errorf(holdfast.CodeOverloaded, "%d requests wait at %s already: send it again later", e.settings.Queue, e.ref))
	default:
		e.queue = append(e.queue, r)
		e.proceed()
	}
}

// Queues reports whether a request would only be put behind what is under way, and nothing of the
// domain's called.
func (e *Engine) Queues(r *Request) bool {
	return (e.phase == phaseAppending || e.phase == phaseLoading) && !r.query()
}

// proceed does what can be done now.
func (e *Engine) proceed() {
	switch e.phase {
	case phaseNew:
		if len(e.queue) > 0 && !e.ending() {
			e.phase = phaseLoading
			e.load(nil)
		}
	case phaseReady:
		for e.phase == phaseReady && len(e.queue) > 0 && !e.ending() {
			e.decide()
		}
	default: // it goes on when what is under way has been answered
	}
	if e.ending() && e.phase != phaseAppending && e.phase != phaseLoading && e.finding == 0 {
		e.stop()
	}
}

// ending reports whether the activation ends as soon as nothing is under way. What is in
// doubt still is: only this activation can settle it.
func (e *Engine) ending() bool {
	inDoubt := len(e.queue) > 0 && e.queue[0].doubts > 0
	return e.draining && !inDoubt || e.bug != nil
}

// stop ends the activation: what waits is passed on to the next one.
func (e *Engine) stop() {
	if e.phase == phaseStopped {
		return
	}
	e.phase = phaseStopped
	e.do(Stop{Bug: e.bug}) // first, so that what is passed on does not come back
	for _, r := range e.queue {
		e.pass(r)
	}
	e.queue = nil
}

// pass leaves a request to the next activation, which knows nothing of what is in doubt.
func (e *Engine) pass(r *Request) {
	if r.doubts > 0 {
		e.fail(r, r.unfinished(errStopped))
		return
	}
	e.do(Pass{r})
}

var errStopped = errors.New("the aggregate was stopped")

// Passivate ends the activation if nothing waits and nothing is under way. It is called
// again later otherwise.
func (e *Engine) Passivate() {
	if e.phase == phaseStopped || e.phase == phaseLoading || e.phase == phaseAppending || e.finding > 0 {
		return
	}
	if e.phase == phaseReady && e.unsaved >= minPassivationEvents {
		e.save()
	}
	e.stop()
}

// Drain ends the activation as soon as what is under way has been answered. What waits,
// and all that comes, is passed on.
func (e *Engine) Drain() {
	e.draining = true
	e.proceed()
}

// Abandon ends the activation at once, because its actor was stopped from outside.
func (e *Engine) Abandon() {
	if e.phase == phaseStopped {
		return
	}
	if e.batch != nil {
		for _, r := range e.batch.requests {
			r.doubts++
			e.fail(r, r.unfinished(errStopped))
		}
		e.batch = nil
	}
	e.stop()
}

// load has the log read.
func (e *Engine) load(ignored error) {
	r := e.newRebuild()
	e.state = r
	e.do(Load{Snapshot: !e.noSnap, Ignored: ignored, To: r})
}

// Loaded tells what was read of the log, by the last Load, beside what its Rebuild took.
func (e *Engine) Loaded(l persistence.Loaded, err error) {
	if e.phase != phaseLoading {
		return
	}
	if err == nil && l.Head.Position.Before(e.head.Position) {
		err = behind(e.ref, e.head) // from there, what is in doubt would seem settled
	}
	r, _ := e.state.(*Rebuild)
	e.state = nil
	switch {
	case err == nil:
		e.adopt(r, l.Head)
		e.phase = phaseReady
		if e.due(e.state, e.unsaved) {
			e.save()
		}
	case isSnapshotError(err):
		e.noSnap = true
		e.load(err)
		return
	case errors.Is(err, holdfast.ErrCorrupt):
		e.phase, e.corrupt = phaseCorrupt, err
		e.failAll(err)
	case errors.Is(err, holdfast.ErrUnavailable):
		e.phase = phaseNew
		e.failAll(err)
	default:
		e.bug = err
		e.phase = phaseNew
		e.failAll(err)
	}
	e.proceed()
}

// unfinished is the answer to a request that cannot be carried on with: certainly not
// executed, unless an earlier append of it may yet be recorded.
func (r *Request) unfinished(err error) error {
	if r.doubts > 0 {
		return holdfast.Errorf(holdfast.CodeUncertain, "whether the command was recorded is not known: send it again with the same id: %w", err)
	}
	return err
}

func (e *Engine) failAll(err error) {
	for _, r := range e.queue {
		e.fail(r, r.unfinished(err))
	}
	e.queue = nil
}

// adopt takes what was made of the log for the durable state.
func (e *Engine) adopt(r *Rebuild, head persistence.Head) {
	if e.doubtful && head.Position != e.head.Position {
		e.doubtful = false // the log has moved on: what was in doubt is in it, or never will be
	}
	e.state, e.head, e.recent, e.unsaved = r.state, head, r.remembered(), r.events
}

type snapshotError struct{ error }

func isSnapshotError(err error) bool {
	_, ok := errors.AsType[*snapshotError](err)
	return ok
}

// show answers a query from the durable state.
func (e *Engine) show(r *Request) {
	if e.head.Version == 0 {
		e.fail(r, holdfast.Errorf(holdfast.CodeUnknown, "nothing has happened to %s", e.ref))
		return
	}
	saved, err := e.saved()
	if err != nil {
		e.fail(r, err)
		return
	}
	if saved == nil {
		e.fail(r, holdfast.Errorf(holdfast.CodeUnknown, "the type %s shows no state: it is defined without a Snapshot", e.ref.Type))
		return
	}
	e.reply(r, Answer{View: holdfast.View{
		Ref: e.ref, Version: e.head.Version, Position: e.head.Position, Time: e.head.Time, State: saved,
	}})
}

func (e *Engine) saved() (m proto.Message, err error) {
	defer recoverInto(&err, "saving the state of", e.ref)
	return e.def.Save(e.state), nil
}

// due asks the domain, whose panic here would harm nothing but the cache.
func (e *Engine) due(state any, events int) (due bool) {
	defer func() { _ = recover() }()
	return events > 0 && e.def.SnapshotDue(state, events)
}

func (e *Engine) save() {
	saved, err := e.saved()
	if err != nil || saved == nil {
		return // a snapshot is a cache: whoever asks for the state hears of the bug
	}
	e.unsaved = 0
	e.do(&Save{Head: e.head, Recent: e.recent.list(), State: saved})
}
