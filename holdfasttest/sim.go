package holdfasttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
	"github.com/holdfast-run/holdfast/sagas"
)

// A Sim is one run of a [World].
type Sim struct {
	world  *World
	book   *sagas.Book
	types  map[string]holdfast.Definition
	luck   luck
	told   *telling
	store  *memory.Store
	log    []entry // what has been read of it
	driver actors.Driver
	still  *actors.Driver // knows the states of now; nil when something has happened since
	now    time.Time
	sent   int // commands of the story

	read    map[*sagas.Saga]int // how many records have been read for a saga type
	noted   map[*sagas.Saga]int // of these, how many are noted as done with
	jobs    []*job              // to be done, in any order
	strays  []*job              // on their way for the second time, or since before a crash
	timers  []sagas.Timer
	returns []func() // former owners that may come back
}

// A job is a task under way.
type job struct {
	task   sagas.Task
	of     *sagas.Saga // nil for the story's own
	record int         // of the log, from which it comes
}

// An entry is a commit of the log.
type entry struct {
	ref    holdfast.Ref
	commit *messages.Commit
}

// simError ends a run.
type simError struct{ error }

func newSim(w *World, book *sagas.Book, luck luck, told *telling) *Sim {
	s := &Sim{
		world: w, book: book, types: map[string]holdfast.Definition{}, luck: luck, told: told,
		store: memory.New("sim"), now: begin, read: map[*sagas.Saga]int{}, noted: map[*sagas.Saga]int{},
	}
	for _, def := range book.Types() {
		s.types[def.Name()] = def
	}
	s.driver.Store = &badStore{s.store, s}
	return s
}

// Rand is what a story draws from.
func (s *Sim) Rand() *rand.Rand { return s.luck.rand() }

// Given has an aggregate, as type/id, take commands before the run, when nothing goes wrong
// yet. It ends the run when one is not accepted.
func (s *Sim) Given(ref string, commands ...holdfast.Command) {
	for _, c := range commands {
		r := s.request(parse(ref), c, holdfast.Delivery{})
		quiet := actors.Driver{Store: s.store}
		if a := quiet.Ask(s.def(r.Ref), r); a.Err != nil {
			panic(simError{fmt.Errorf("%s, %s: %w", ref, describe(c), a.Err)})
		}
	}
}

// Send has a client send a command to an aggregate or a saga, as type/id, some time in the
// run, and again until it is accepted or refused.
func (s *Sim) Send(ref string, c holdfast.Command) {
	s.sent++
	d := holdfast.Delivery{Once: begin, Meta: holdfast.Meta{ID: fmt.Sprintf("client-%d", s.sent)}}
	s.jobs = append(s.jobs, &job{task: sagas.Command{To: parse(ref), Command: c, Delivery: d}})
}

// State is that of an aggregate or a saga, as type/id, in the form of its snapshot message;
// nil when nothing has happened to it.
func (s *Sim) State(ref string) proto.Message { return s.state(parse(ref)) }

func (s *Sim) state(ref holdfast.Ref) proto.Message {
	if s.still == nil {
		s.still = &actors.Driver{Store: s.store}
	}
	a := s.still.Ask(s.def(ref), &actors.Request{Ref: ref})
	switch {
	case errors.Is(a.Err, holdfast.ErrUnknown):
		return nil
	case a.Err != nil:
		panic(simError{fmt.Errorf("%s: %w", ref, a.Err)})
	}
	return a.View.State
}

// Each calls f with the name and the state of everything of a type to which something has
// happened, in the order in which it began.
func (s *Sim) Each(typ string, f func(id string, state proto.Message)) {
	for _, ref := range s.refs() {
		if ref.Type != typ {
			continue
		}
		if state := s.state(ref); state != nil {
			f(ref.ID, state)
		}
	}
}

// refs are all that have something in the log, in the order in which they began.
func (s *Sim) refs() (refs []holdfast.Ref) {
	s.readOn()
	for _, e := range s.log {
		if !slices.Contains(refs, e.ref) {
			refs = append(refs, e.ref)
		}
	}
	return refs
}

// readOn reads what is new in the log.
func (s *Sim) readOn() {
	after := []holdfast.Position{holdfast.NewPosition(0, uint64(len(s.log)))}
	_, err := s.store.Scan(context.Background(), persistence.ScanOptions{After: after}, func(r persistence.Record) error {
		sub, err := messages.ParseSubject(r.Subject)
		if err != nil {
			return err
		}
		c, err := persistence.Open(r.Position, r.Body)
		if err == nil {
			s.log = append(s.log, entry{holdfast.Ref{Type: sub.Type, ID: sub.ID.Raw()}, c.Commit})
		}
		return err
	})
	if err != nil {
		panic(simError{err})
	}
}

func parse(ref string) holdfast.Ref {
	r, err := holdfast.ParseRef(ref)
	if err != nil {
		panic(simError{err})
	}
	return r
}

func (s *Sim) def(ref holdfast.Ref) holdfast.Definition {
	def := s.types[ref.Type]
	if def == nil {
		panic(simError{fmt.Errorf("%s: the world has no type %q", ref, ref.Type)})
	}
	return def
}

// request makes what an engine is asked. What the engine is given is its own.
func (s *Sim) request(ref holdfast.Ref, c holdfast.Command, d holdfast.Delivery) *actors.Request {
	if d.Meta.At.IsZero() {
		d.Meta.At = s.now
	}
	if d.Meta.ID == "" {
		s.sent++
		d.Meta.ID = fmt.Sprintf("sim-%d", s.sent)
	}
	if d.Meta.CorrelationID == "" {
		d.Meta.CorrelationID = d.Meta.ID
	}
	return &actors.Request{Ref: ref, Command: proto.Clone(c), Delivery: d}
}

// verify checks what has to hold in every world.
func (s *Sim) verify() error {
	var wrong []error
	type use struct {
		ref holdfast.Ref
		id  string
	}
	used := map[use]bool{}
	s.readOn()
	for _, e := range s.log {
		for _, ch := range e.commit.Changes {
			u := use{e.ref, ch.CommandId}
			if used[u] {
				wrong = append(wrong, fmt.Errorf("%s took the command %s twice", e.ref, ch.CommandId))
			}
			used[u] = true
		}
	}
	for _, ref := range s.refs() {
		if s.book.Saga(ref.Type) == nil {
			continue
		}
		st := s.state(ref).(*messages.SagaState)
		if status := sagas.Status(st.Status); !status.Final() && !(s.world.Stuck && status == sagas.Stuck) {
			wrong = append(wrong, fmt.Errorf("%s is %s, and nothing moves any more%s", ref, status, standing(st)))
		}
	}
	return errors.Join(wrong...)
}

// standing says where a saga stands that has not come to its end.
func standing(st *messages.SagaState) string {
	var b strings.Builder
	for _, p := range st.Steps {
		for way, r := range map[string]*messages.SagaErrand{"": p.Do, " undone": p.Undo, " made void": p.Void} {
			if r.GetPhase() != messages.SagaPhase_SAGA_PHASE_ENDED && r.GetPhase() != messages.SagaPhase_SAGA_PHASE_UNSPECIFIED {
				fmt.Fprintf(&b, "; %s%s: %s %s", p.Name, way, strings.ToLower(strings.TrimPrefix(r.Phase.String(), "SAGA_PHASE_")), r.Reason)
			}
		}
	}
	for _, p := range st.Parked {
		fmt.Fprintf(&b, "; parked: %s", p.Reason)
	}
	return b.String()
}

func without[T any](list []T, i int) []T { return slices.Delete(list, i, i+1) }
