package sagas

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
)

// trip is the data of the sagas in these tests.
type trip struct {
	owner string
	heard int
}

func (trip) check(c *bankpb.OpenAccount) error {
	if c.Owner == "" {
		return holdfast.Reject("no_owner", "a trip needs an owner")
	}
	return nil
}

func (trip) begun(id string, c *bankpb.OpenAccount) trip { return trip{owner: c.Owner} }

func (t trip) take(amount int64) func(trip) (string, *bankpb.Withdraw) {
	return func(t trip) (string, *bankpb.Withdraw) { return t.owner, &bankpb.Withdraw{Amount: amount} }
}

func (t trip) give(amount int64) func(trip) (string, *bankpb.Deposit) {
	return func(t trip) (string, *bankpb.Deposit) { return t.owner, &bankpb.Deposit{Amount: amount} }
}

func (t trip) told(e *bankpb.Deposited, _ Source) trip {
	t.heard++
	return t
}

func (t trip) ready() Verdict {
	if t.heard > 0 {
		return Done
	}
	return Wait
}

var short = Backoff{First: time.Second, Max: 4 * time.Second, Attempts: 3}

var journey = Define("journey",
	Begin(trip.begun),
	Check(trip.check),
	Hear("account", func(*bankpb.Deposited, Source) string { return "j-1" }, trip.told),
	Step("a", Do("account", trip{}.take(1)), Undo("account", trip{}.give(1)), Retry(short), RetryUndo(short), Timeout(time.Minute)),
	Together(
		Step("b", Do("account", trip{}.take(2)), Undo("account", trip{}.give(2)), Retry(short), RetryUndo(short)),
		Step("c", Do("account", trip{}.take(4)), Undo("account", trip{}.give(4)), Retry(short), RetryUndo(short), Until(trip.ready), Timeout(30*time.Second)),
	),
	Pivot("d", Do("account", trip{}.take(8)), Retry(short)),
	Retryable("e", Do("account", trip{}.take(16)), Retry(short)),
)

// A run is one saga with a world around it that is told what to answer.
type run struct {
	t      *testing.T
	def    holdfast.Definition
	state  any
	at     time.Time
	events holdfast.Events
	open   []*messages.SagaIntended // that have not been answered
}

func newRun(t *testing.T, def holdfast.Definition) *run {
	return &run{t: t, def: def, state: def.Zero(), at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (r *run) send(c holdfast.Command) error {
	events, err := r.def.Decide(r.state, c, holdfast.Meta{At: r.at, CorrelationID: "story", User: "ada", To: holdfast.Ref{Type: "journey", ID: "j/1"}})
	if err != nil {
		return err
	}
	for _, e := range events {
		if r.state, err = r.def.Apply(r.state, e); err != nil {
			r.t.Fatal(err)
		}
		r.state = r.def.Load(r.def.Save(r.state)) // it is rebuilt from a snapshot every time
		if in, ok := e.(*messages.SagaIntended); ok && in.To != "" {
			r.open = append(r.open, in)
		}
	}
	r.events = append(r.events, events...)
	return nil
}

func (r *run) must(c holdfast.Command) {
	r.t.Helper()
	if err := r.send(c); err != nil {
		r.t.Fatal(err)
	}
}

func (r *run) status() Status { return r.state.(state).status() }

// Whatever the world answers, a saga ends with everything done, or with nothing.
func TestAnyWorld(t *testing.T) {
	count, edited := map[Status]int{}, 0
	for seed := range uint64(8_000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		r := newRun(t, journey.Type())
		effects := map[string]int{} // of commands, by their id
		r.must(&bankpb.OpenAccount{Owner: "ada"})
		mood := rnd.IntN(10)
		for turns := 0; !r.status().Final(); turns++ {
			if turns > 2000 {
				t.Fatalf("seed %d does not end: it is %s\n%v", seed, r.status(), r.events)
			}
			r.at = r.at.Add(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			switch x := rnd.IntN(10); {
			case x < 6 && len(r.open) > 0:
				i := rnd.IntN(len(r.open))
				in := r.open[i]
				if rnd.IntN(5) > 0 { // or it is sent again, whatever has become of the saga
					r.open = append(r.open[:i], r.open[i+1:]...)
				}
				r.must(&messages.SagaReport{Answer: answer(rnd, in, effects, mood)})
			case x < 7 && rnd.IntN(4) == 0:
				r.must(&messages.SagaHear{Heard: &messages.SagaHeard{Event: mustPack(&bankpb.Deposited{Amount: 1})}})
			case r.status() == Stuck:
				r.must(&messages.SagaResume{Reason: "it works again"})
				mood = 9
			case x == 8 && rnd.IntN(4) == 0: // an operator edits what can be
				for _, step := range []string{"a", "b", "c", "d", "e"} {
					for _, c := range []holdfast.Command{&bankpb.Withdraw{Amount: 100}, &bankpb.Deposit{Amount: 100}} {
						_ = r.send(&messages.SagaEdit{Step: step, Command: mustPack(c), Reason: "to try it"})
					}
				}
			case x == 9 && rnd.IntN(50) == 0:
				_ = r.send(&messages.SagaCancel{Reason: "not wanted"}) // or there is no way back
			default:
				r.must(&messages.SagaWake{})
			}
		}
		count[r.status()]++
		for _, e := range r.events {
			if in, ok := e.(*messages.SagaIntended); ok && in.Edits > 0 && in.Way != void {
				edited++
			}
		}
		check(t, seed, r, effects)
	}
	if t.Log(count, edited); edited < 100 {
		t.Errorf("%d commands were edited", edited)
	}
	for _, s := range []Status{Completed, Compensated, Cancelled} {
		if count[s] < 100 {
			t.Errorf("%d are %s", count[s], s)
		}
	}
}

func key(in *messages.SagaIntended) string { return fmt.Sprint(in.Step, in.Way, in.Edits) }

// answer has a command executed, or not, and says so, or not.
func answer(rnd *rand.Rand, in *messages.SagaIntended, effects map[string]int, mood int) *messages.SagaAnswered {
	a := &messages.SagaAnswered{Step: in.Step, Way: in.Way, Attempt: in.Attempt}
	if in.Way == void {
		switch k := fmt.Sprint(in.Step, in.Of, in.Edits); {
		case rnd.IntN(4) == 0:
			a.Code = string(holdfast.CodeUncertain)
		case effects[k] > 0:
			a.Events = []string{"it has happened"}
		default:
			effects[k+"void"]++
		}
		return a
	}
	if effects[key(in)+"void"] > 0 {
		return a
	}
	if effects[key(in)] > 0 { // it is found out by its id
		if rnd.IntN(4) == 0 {
			a.Code = string(holdfast.CodeUnavailable)
		}
		return a
	}
	switch x := rnd.IntN(mood + 3); {
	case x > 2 || in.Way == undo && x == 1:
		effects[key(in)]++
	case x == 0 && rnd.IntN(2) == 0:
		a.Code = string(holdfast.CodeUncertain)
		effects[key(in)] += rnd.IntN(2)
	case x == 0:
		a.Code = string(holdfast.CodeUnavailable)
	case x == 1:
		a.Code, a.Reason, a.Message = string(holdfast.CodeRejected), "no", "not today"
	default:
		a.Code = string([]holdfast.Code{holdfast.CodeInternal, holdfast.CodeCorrupt, holdfast.CodeOverloaded}[rnd.IntN(3)])
	}
	return a
}

func check(t *testing.T, seed uint64, r *run, effects map[string]int) {
	t.Helper()
	for _, step := range []string{"a", "b", "c", "d", "e"} {
		var done, undone int
		for edits := range 30 {
			done, undone = done+effects[fmt.Sprint(step, do, edits)], undone+effects[fmt.Sprint(step, undo, edits)]
		}
		want := 0
		if r.status() == Completed {
			want = 1
		}
		if done-undone != want || undone > done || done > 1 {
			t.Fatalf("seed %d: %s ended %s: done %d, undone %d\n%s", seed, step, r.status(), done, undone, story(r.events))
		}
	}
}

func story(events holdfast.Events) (text string) {
	for _, e := range events {
		text += fmt.Sprintf("%s %v\n", e.ProtoReflect().Descriptor().Name(), e)
	}
	return text
}
