package holdfasttest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/sagas"
)

// A Sim is one run of a [World].
type Sim struct {
	world  *World
	book   *sagas.Book
	types  map[string]holdfast.Definition
	luck   luck
	told   *telling // nil when nobody wants to know
	driver actors.Driver
	now    time.Time
	sent   int // commands of the story

	log        *ledger
	partitions uint32
	forced     map[holdfast.Ref]bool // sagas that an operator has ended

	followers []*follower
	jobs      []*job          // to be done, in any order but for their lanes
	strays    []sagas.Command // for which nobody waits any more
	timers    []sagas.Timer
	former    []former     // owners that may come back
	stale     []former     // that have, for a while
	late      []func()     // commits that may yet reach the log
	doing     *job         // under way
	asked     holdfast.Ref // whom
}

// simError ends a run.
type simError struct{ error }

func newSim(w *World, book *sagas.Book, luck luck, told *telling) *Sim {
	s := &Sim{
		world: w, book: book, types: map[string]holdfast.Definition{}, luck: luck, told: told, now: begin,
		forced: map[holdfast.Ref]bool{},
	}
	for _, def := range book.Types() {
		s.types[def.Name()] = def
	}
	s.partitions = []uint32{1, 1, 3}[s.Rand().IntN(3)]
	s.driver.Window = []int{0, 0, 3}[s.Rand().IntN(3)]
	for _, d := range w.Sagas {
		for p := range s.partitions {
			s.followers = append(s.followers, &follower{saga: d, partition: p})
		}
	}
	s.log = &ledger{of: map[holdfast.Ref]*account{}, place: s.partition}
	s.driver.Store = &badLedger{s.log, s}
	return s
}

// partition is where an aggregate's commits stand.
func (s *Sim) partition(ref holdfast.Ref) uint32 {
	id, err := messages.EncodeID(ref.ID)
	if err != nil {
		panic(simError{fmt.Errorf("%s: %w", ref, err)})
	}
	return messages.PartitionOf(ref.Type, id, s.partitions)
}

// Rand is what a story draws from.
func (s *Sim) Rand() *rand.Rand { return s.luck.rand() }

// Given has an aggregate, as type/id, take commands before the run, when nothing goes wrong
// yet. It ends the run when one is not accepted.
func (s *Sim) Given(ref string, commands ...holdfast.Command) {
	for _, c := range commands {
		r := s.request(parse(ref), c, holdfast.Delivery{})
		quiet := actors.Driver{Store: s.log}
		if a := quiet.Ask(s.def(r.Ref), r); a.Err != nil {
			panic(simError{fmt.Errorf("%s, %s: %w", ref, describe(c), a.Err)})
		}
	}
}

// Send has a client send a command to an aggregate or a saga, as type/id, some time in the
// run, and again until it is accepted or refused.
func (s *Sim) Send(ref string, c holdfast.Command) {
	s.sent++
	d := holdfast.Delivery{Once: begin.Add(-time.Hour), Meta: holdfast.Meta{ID: fmt.Sprintf("client-%d", s.sent)}}
	s.jobs = append(s.jobs, &job{task: sagas.Command{To: parse(ref), Command: c, Delivery: d}})
}

// State is that of an aggregate or a saga, as type/id, in the form of its snapshot message;
// nil when nothing has happened to it.
func (s *Sim) State(ref string) proto.Message { return s.state(parse(ref)) }

func (s *Sim) state(ref holdfast.Ref) proto.Message {
	version := s.log.version(ref)
	if version == 0 {
		return nil
	}
	if state, known := s.driver.State(ref, version); known {
		return state
	}
	fresh := actors.Driver{Store: s.log}
	a := fresh.Ask(s.def(ref), &actors.Request{Ref: ref})
	if a.Err != nil {
		panic(simError{fmt.Errorf("%s: %w", ref, a.Err)})
	}
	return a.View.State
}

// Each calls f with the name and the state of everything of a type to which something has
// happened, in the order in which it began.
func (s *Sim) Each(typ string, f func(id string, state proto.Message)) {
	for _, ref := range s.log.begun {
		if ref.Type != typ {
			continue
		}
		if state := s.state(ref); state != nil {
			f(ref.ID, state)
		}
	}
}

// Events are those of an aggregate or a saga, as type/id, as they were recorded.
func (s *Sim) Events(ref string) (events []holdfast.Event) {
	of := parse(ref)
	for _, entry := range s.log.entries {
		if entry.ref != of {
			continue
		}
		for _, ch := range entry.commit.Changes {
			for _, recorded := range ch.Events {
				e, err := persistence.DecodeEvent(s.def(of), recorded)
				if err != nil {
					panic(simError{err})
				}
				events = append(events, e)
			}
		}
	}
	return events
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
		d.Meta.At = s.skewed()
	}
	if d.Meta.ID == "" {
		s.sent++
		d.Meta.ID = fmt.Sprintf("sim-%d", s.sent)
	}
	if d.Meta.CorrelationID == "" {
		d.Meta.CorrelationID = d.Meta.ID
	}
	for _, id := range []string{d.Meta.ID, d.Meta.CorrelationID, d.Meta.CausationID} {
		if err := messages.CheckCommandID(id); id != "" && err != nil {
			panic(simError{fmt.Errorf("%s for %s: no node would send the id %q: %w", describe(c), ref, id, err)})
		}
	}
	return &actors.Request{Ref: ref, Command: proto.Clone(c), Delivery: d}
}

func without[T any](list []T, i int) []T { return slices.Delete(list, i, i+1) }
