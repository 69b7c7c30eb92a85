package actors

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// A Driver runs activations in the caller's goroutine, one request at a time, for
// simulations: a request has been answered when Ask returns. Its store must answer an
// append before Append returns, as persistence/memory does.
type Driver struct {
	Store persistence.Store
	// Window is how many of an aggregate's last command ids are remembered; 0 is [Window].
	Window  int
	engines map[holdfast.Ref]*Engine
}

// Ask has the aggregate's activation decide on the request, or show its state; there is one
// from then on. Delivery needs an id and a time.
func (d *Driver) Ask(def holdfast.Definition, r *Request) Answer {
	r.prepare()
	for { // a stopping activation passes it on
		e := d.engines[r.Ref]
		if e == nil {
			e = NewEngine(def, r.Ref, &Settings{Queue: 1, Limit: d.Store.Limit(), Window: d.Window})
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
	for e.goOn() {
		effects := e.effects
		e.effects = nil
		for _, f := range effects {
			switch f := f.(type) {
			case Reply:
				answered = true
			case *Append:
				d.Store.Append(e.ref, f.After, f.Changes, e.Appended)
			case Load:
				e.Loaded(f.read(context.Background(), d.Store))
			case Find:
				first, err := find(context.Background(), d.Store, f, cmp.Or(d.Window, Window))
				e.Found(f.Request, first, err)
			case *Save:
				d.save(e, f)
			case Stop:
				delete(d.engines, e.ref)
			}
		}
	}
	return answered
}

// save keeps a snapshot. One that cannot be kept is no loss.
func (d *Driver) save(e *Engine, f *Save) {
	state, err := proto.Marshal(f.State)
	if err != nil {
		return
	}
	_ = d.Store.SaveSnapshot(context.Background(), e.ref, persistence.Snapshot{
		Head: f.Head, Fingerprint: e.def.Fingerprint(), Recent: f.Recent, State: state,
	})
}

// Save takes a snapshot of the aggregate, as its activation knows it, if there is one.
func (d *Driver) Save(ref holdfast.Ref) {
	if e := d.engines[ref]; e != nil && e.phase == phaseReady && e.head.Version > 0 {
		e.save()
		d.run(e)
	}
}

// State shows the aggregate as its activation knows it, in the form of its snapshot message,
// if there is one that has come to that version.
func (d *Driver) State(ref holdfast.Ref, version holdfast.Version) (proto.Message, bool) {
	e := d.engines[ref]
	if e == nil || e.phase != phaseReady || e.head.Version != version {
		return nil, false
	}
	saved, err := e.saved()
	return saved, err == nil
}

// Active are the aggregates that have an activation, in the order of their names.
func (d *Driver) Active() []holdfast.Ref {
	refs := make([]holdfast.Ref, 0, len(d.engines))
	for ref := range d.engines {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b holdfast.Ref) int { return strings.Compare(a.String(), b.String()) })
	return refs
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
