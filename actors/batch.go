package actors

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A batch is what one commit is made of: the commands that were decided together, the
// changes that they record, and the state to which these lead.
type batch struct {
	requests []*Request // with their answers, less the position
	changes  []*messages.Change
	prints   []uint32 // of the changes' command ids
	size     int

	state   any
	version holdfast.Version
	time    time.Time

	due bool // a snapshot of the state

	append Append
	// Most batches are of one command.
	one struct {
		request [1]*Request
		print   [1]uint32
		change  [1]*messages.Change
	}
}

// newBatch makes one for so many commands.
func (e *Engine) newBatch(n int) *batch {
	b := &batch{state: e.state, version: e.head.Version, time: e.head.Time}
	b.requests, b.prints, b.changes = b.one.request[:0], b.one.print[:0], b.one.change[:0]
	if n > 1 {
		b.requests, b.prints, b.changes = make([]*Request, 0, n), make([]uint32, 0, n), make([]*messages.Change, 0, n)
	}
	return b
}

// leastShare is how many commands are decided together at least, if so many wait.
const leastShare = 16

// share is how many of those that wait are decided now. Who has just been answered often asks again at
// once: the commands of the one half are then taken in while those of the other are on their way, where
// otherwise nearly all would wait for one another and a few for themselves.
func (e *Engine) share() int {
	n := len(e.queue)
	if half := (n + e.answered + 1) / 2; e.answered > 0 && half >= leastShare {
		return min(n, half)
	}
	return n
}

// decide decides on all that waits, and sends what it records to the log.
func (e *Engine) decide() {
	share := e.share()
	b := e.newBatch(share)
	next := 0
	for next < share && e.bug == nil {
		r := e.queue[next]
		if r.query() {
			e.show(r)
		} else if !e.take(b, r) {
			break // the commit is full
		}
		next++
	}
	e.queue = slices.Delete(e.queue, 0, next)
	if len(e.queue) == 0 && cap(e.queue) > maxKept {
		e.queue = nil
	}
	if len(b.changes) == 0 {
		for _, r := range b.requests {
			e.settle(r, e.head.Position)
		}
		return
	}
	e.batch, e.phase = b, phaseAppending
	b.due = e.due(b.state, e.unsaved+int(b.version-e.head.Version))
	b.append = Append{After: e.head, Changes: b.changes}
	e.do(&b.append)
}

// take decides on one command as the next in the batch. It reports false, and has done
// nothing, when the batch has no room for it.
func (e *Engine) take(b *batch, r *Request) bool {
	r.answer = Answer{}
	if first := b.recorded(r); first != nil {
		if err := sameCommand(r, string(proto.MessageName(first.Command))); err != nil {
			b.refuse(r, err)
			return true
		}
		r.answer = first.answer
		r.answer.Receipt.Duplicate = true
		b.requests = append(b.requests, r)
		return true
	}
	if e.recent.has(r.print, r.checked) || r.checked == 0 && !r.Once.IsZero() && !r.Once.After(e.recent.lost) {
		r.checked = e.recent.total
		e.finding++
		e.do(Find{r, e.head})
		return true
	}
	if r.Expected != nil && *r.Expected != b.version {
		b.refuse(r, holdfast.Errorf(holdfast.CodeConflict, "%s is at version %d, not at the expected %d", e.ref, b.version, *r.Expected))
		return true
	}
	change, state, err := e.run(b, r)
	if err != nil {
		b.refuse(r, err)
		return true
	}
	if change == nil {
		r.answer.Receipt = holdfast.Receipt{Version: b.version}
		b.requests = append(b.requests, r)
		return true
	}
	size := proto.Size(change) + 8
	if size > e.settings.Limit {
		b.refuse(r, holdfast.Errorf(holdfast.CodeTooLarge, "the events of the command take %d bytes, the limit is %d", size, e.settings.Limit))
		return true
	}
	if b.size+size > e.settings.Limit {
		return false
	}
	b.add(r, change, state, size)
	return true
}

// recorded finds the earlier request of the batch that records the same command id.
func (b *batch) recorded(r *Request) *Request {
	for i, print := range b.prints {
		if print != r.print || b.changes[i].CommandId != r.Meta.ID {
			continue
		}
		for _, first := range b.requests {
			if first.Meta.ID == r.Meta.ID && first.answer.Err == nil && (len(first.answer.Receipt.Events) > 0 || first.once()) {
				return first
			}
		}
	}
	return nil
}

// sameCommand refuses an id that another command was recorded with. To be told of that one
// is what a void command is for.
func sameCommand(r *Request, recorded string) error {
	if !r.is(recorded) && !r.void() {
		return holdfast.Errorf(holdfast.CodeMalformed, "the command id %q was used for %s before, and is now given to %s", r.Meta.ID, recorded, proto.MessageName(r.Command))
	}
	return nil
}

func (b *batch) refuse(r *Request, err error) {
	r.answer.Err = err
	b.requests = append(b.requests, r)
}

func (b *batch) add(r *Request, change *messages.Change, state any, size int) {
	names := make([]string, len(change.Events))
	for i, ev := range change.Events {
		names[i] = ev.Type
	}
	b.state, b.time = state, time.Unix(0, change.Time).UTC()
	b.version += holdfast.Version(len(names))
	b.size += size
	b.changes = append(b.changes, change)
	b.prints = append(b.prints, r.print)
	b.requests = append(b.requests, r)
	r.answer.Receipt = holdfast.Receipt{Version: b.version, Events: names}
}

// run has the domain decide, and evolves the state with the events as they will be read
// back: what is in memory is what a replay gives. A nil change records nothing.
func (e *Engine) run(b *batch, r *Request) (change *messages.Change, state any, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = internal(r, newPanicked(v))
			e.bug = err // what a panic leaves behind is not to be trusted
		}
	}()
	meta := r.Meta
	meta.To = e.ref
	if meta.At.Before(b.time) {
		meta.At = b.time
	}
	var events holdfast.Events
	if !r.void() {
		if events, err = e.def.Decide(b.state, r.Command, meta); err != nil {
			return nil, nil, decisionError(r, err)
		}
	}
	if len(events) == 0 && !r.once() {
		return nil, nil, nil
	}
	change = &messages.Change{
		CommandId:     meta.ID,
		Command:       string(proto.MessageName(r.Command)),
		CorrelationId: meta.CorrelationID,
		CausationId:   meta.CausationID,
		User:          meta.User,
		Trace:         meta.Trace,
		Time:          meta.At.UnixNano(),
	}
	if change.Events, err = persistence.EncodeEvents(events...); err != nil {
		return nil, nil, internal(r, err)
	}
	if state, err = persistence.Fold(e.def, b.state, change.Events); err != nil {
		return nil, nil, internal(r, err)
	}
	return change, state, nil
}

// decisionError sorts what a decision returned: the domain's no, an unknown command, or
// a bug.
func decisionError(r *Request, err error) error {
	if no, ok := errors.AsType[*holdfast.Rejection](err); ok {
		if no.Valid() {
			return no
		}
		return internal(r, fmt.Errorf("the reason %q of a rejection has not the form insufficient_funds", no.Reason))
	}
	if errors.Is(err, holdfast.ErrUnknown) {
		return err
	}
	return internal(r, err)
}

func internal(r *Request, err error) error {
	return holdfast.Errorf(holdfast.CodeInternal, "%s of %s: %w", proto.MessageName(r.Command), r.Ref, err)
}

// panicked is a panic of a function of the domain.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

func newPanicked(value any) *panicked { return &panicked{value, debug.Stack()} }

// recoverInto turns a panic into an internal error.
func recoverInto(err *error, doing string, ref holdfast.Ref) {
	if v := recover(); v != nil {
		*err = holdfast.Errorf(holdfast.CodeInternal, "%s %s: %w", doing, ref, newPanicked(v))
	}
}

// settle answers a request of a batch whose outcome stands, at the position of the
// aggregate's last commit.
func (e *Engine) settle(r *Request, position holdfast.Position) {
	if e.doubtful && r.doubts > 0 {
		// Decided anew it records nothing, but its first append may yet be recorded.
		e.fail(r, r.unfinished(errors.New("a newer decision recorded nothing")))
		return
	}
	if r.answer.Err == nil {
		r.answer.Receipt.Position = position
	}
	e.do(Reply{r})
}

// Brief reports whether all that is left to do when the append has succeeded is to answer: nobody
// waits, and nothing of the domain's is called.
func (e *Engine) Brief() bool {
	return e.phase == phaseAppending && !e.batch.due && len(e.queue) == 0 && !e.ending()
}

// Appended tells how the append was answered.
func (e *Engine) Appended(head persistence.Head, err error) {
	if e.phase != phaseAppending {
		return
	}
	b := e.batch
	e.batch = nil
	switch {
	case err == nil:
		e.commit(b, head)
		e.left = true // who is answered does not wait for what others have decided
		return
	case errors.Is(err, holdfast.ErrConflict), errors.Is(err, holdfast.ErrUncertain):
		e.again(b, err)
	default: // certainly not recorded: the durable state still holds
		e.phase = phaseReady
		for _, r := range b.requests {
			e.fail(r, r.unfinished(err))
		}
	}
	e.proceed()
}

func (e *Engine) commit(b *batch, head persistence.Head) {
	e.phase, e.doubtful = phaseReady, false
	e.unsaved += int(b.version - e.head.Version)
	e.state, e.head, e.answered = b.state, head, len(b.requests)
	for i, print := range b.prints {
		e.recent.add(print, time.Unix(0, b.changes[i].Time))
	}
	for _, r := range b.requests {
		e.settle(r, head.Position)
	}
	if b.due {
		e.save()
	}
}

// again forgets the state and has the batch decided anew on what the log says, in front
// of all that waits. A request that was tried too often is given up.
func (e *Engine) again(b *batch, err error) {
	e.phase, e.state = phaseNew, nil
	uncertain := errors.Is(err, holdfast.ErrUncertain)
	e.doubtful = e.doubtful || uncertain
	queue := make([]*Request, 0, len(b.requests)+len(e.queue))
	for _, r := range b.requests {
		r.tried++
		if uncertain {
			r.doubts++
		}
		if r.tried >= maxTries || r.doubts >= maxDoubts {
			e.fail(r, r.unfinished(holdfast.Errorf(holdfast.CodeUnavailable, "%s could not be written after %d tries: %w", e.ref, r.tried, err)))
		} else {
			queue = append(queue, r)
		}
	}
	e.queue = append(queue, e.queue...)
}

// Found tells what the log says of a request's command id: the receipt of its first
// answer, or nil when it is not there, or an error.
func (e *Engine) Found(r *Request, first *holdfast.Receipt, err error) {
	e.finding--
	switch {
	case err != nil:
		e.fail(r, r.unfinished(err))
	case first != nil:
		receipt := *first
		receipt.Duplicate = first.Duplicate || r.doubts == 0 // or it is what this one recorded
		e.reply(r, Answer{Receipt: receipt})
	case e.phase == phaseStopped:
		e.pass(r)
	case e.phase == phaseCorrupt:
		e.fail(r, r.unfinished(e.corrupt))
	default:
		e.queue = append([]*Request{r}, e.queue...)
	}
	e.proceed()
}
