package actors

import (
	"context"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// A Driver runs activations in the caller's goroutine, one request at a time, for
// simulations: a request has been answered when Ask returns. Its store must answer an
// append before Append returns, as persistence/memory does.
type Driver struct {
	// Store keeps the log. Snapshots are not taken.
	Store interface {
		persistence.Appender
		persistence.Reader
	}
	engines map[holdfast.Ref]*Engine
}

// Ask has the aggregate's activation decide on the request, or show its state; there is one
// from then on. Delivery needs an id and a time.
func (d *Driver) Ask(def holdfast.Definition, r *Request) Answer {
	r.prepare()
	for { // a stopping activation passes it on
		e := d.engines[r.Ref]
		if e == nil {
			e = NewEngine(def, r.Ref, &Settings{Queue: 1, Limit: d.Store.Limit()})
			if d.engines == nil {
				d.engines = map[holdfast.Ref]*Engine{}
			}
			d.engines[r.Ref] = e
		}
		e.Ask(r)
		if d.run(e) {
			return r.answer
		}
	}
}

// run does what the engine says until it says no more, and reports whether it has answered.
func (d *Driver) run(e *Engine) (answered bool) {
	for more := true; more; {
		more = false
		var effects []Effect
		e.Each(func(f Effect) { effects = append(effects, f) })
		for _, f := range effects {
			more = true
			switch f := f.(type) {
			case Reply:
				answered = true
			case *Append:
				d.Store.Append(e.ref, f.After, f.Changes, e.Appended)
			case Load:
				e.Loaded(d.Store.Load(context.Background(), e.ref, ""))
			case Find:
				first, err := find(context.Background(), d.Store, f.Request)
				e.Found(f.Request, first, err)
			case Stop:
				delete(d.engines, e.ref)
			}
		}
	}
	return answered
}

// Take takes the aggregate's activation away without a word, as when its node is cut off,
// and gives what puts it back, in the place of the one that there is by then.
func (d *Driver) Take(ref holdfast.Ref) (restore func()) {
	e := d.engines[ref]
	delete(d.engines, ref)
	return func() {
		if e != nil {
			d.engines[ref] = e
		}
	}
}

// TakeAll takes all activations away, as when their node dies.
func (d *Driver) TakeAll() { d.engines = nil }
