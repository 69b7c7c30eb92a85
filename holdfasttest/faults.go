package holdfasttest

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A badLedger is a ledger that cannot always be reached, and whose answers get lost.
type badLedger struct {
	*ledger
	sim *Sim
}

// Append implements [persistence.Appender].
func (b *badLedger) Append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change, done func(persistence.Head, error)) {
	s := b.sim
	s.point()
	switch {
	case s.luck.fails(20):
		done(after, holdfast.Errorf(holdfast.CodeUnavailable, "the log cannot be reached"))
		return
	case s.luck.fails(10):
		if s.Rand().IntN(2) == 0 {
			s.late = append(s.late, func() { b.ledger.Append(ref, after, changes, func(persistence.Head, error) {}) })
		}
		done(after, holdfast.Errorf(holdfast.CodeUncertain, "the commit got lost on its way to the log"))
		return
	}
	b.ledger.Append(ref, after, changes, func(h persistence.Head, err error) {
		s.point()
		if err == nil && s.luck.fails(20) {
			err = holdfast.Errorf(holdfast.CodeUncertain, "the log's answer got lost")
		}
		done(h, err)
	})
}

// Load implements [persistence.Reader].
func (b *badLedger) Load(ctx context.Context, ref holdfast.Ref, fingerprint string) (persistence.Loaded, error) {
	if b.sim.luck.fails(30) {
		return persistence.Loaded{}, holdfast.Errorf(holdfast.CodeUnavailable, "the log cannot be read")
	}
	return b.ledger.Load(ctx, ref, fingerprint)
}

// SaveSnapshot implements [persistence.Snapshotter].
func (b *badLedger) SaveSnapshot(ctx context.Context, ref holdfast.Ref, snap persistence.Snapshot) error {
	if b.sim.luck.fails(3) {
		return holdfast.Errorf(holdfast.CodeUnavailable, "the snapshot got lost")
	}
	return b.ledger.SaveSnapshot(ctx, ref, snap)
}

// disturb has happen what nobody asks for.
func (s *Sim) disturb() {
	r := s.Rand()
	if s.luck.fails(30) && len(s.log.begun) > 0 {
		ref := s.log.begun[r.IntN(len(s.log.begun))]
		s.note("%s gets another owner", ref)
		s.former = append(s.former, former{ref: ref, back: s.driver.Take(ref)})
	}
	if s.luck.fails(30) && len(s.former) > 0 {
		i := r.IntN(len(s.former))
		s.comeBack(s.former[i])
		s.former = without(s.former, i)
	}
	if s.luck.fails(20) && len(s.log.begun) > 0 {
		s.driver.Save(s.log.begun[r.IntN(len(s.log.begun))])
	}
	if s.luck.fails(60) && len(s.followers) > 0 {
		s.replace(r.IntN(len(s.followers)))
	}
	if s.luck.fails(20) {
		s.meddle()
	}
	if len(s.late) > 0 && r.IntN(6) == 0 {
		s.land(r.IntN(len(s.late)))
	}
	if s.luck.fails(40) {
		s.now = s.now.Add(time.Duration(r.IntN(60_000)) * time.Millisecond)
		s.note("all stand still for a while")
	}
}

// A former owner of an aggregate knows nothing of what has happened since, until it finds
// something else in the log than it expects, or its lease has run out.
type former struct {
	ref  holdfast.Ref
	back func()
	till time.Time
}

// lease is how long a former owner may think that it is still the owner.
const lease = 5 * time.Second

func (s *Sim) comeBack(f former) {
	s.note("a former owner of %s comes back", f.ref)
	f.back()
	f.till = s.now.Add(lease)
	s.stale = append(s.stale, f)
}

// fence ends those whose lease has run out.
func (s *Sim) fence() {
	s.stale = slices.DeleteFunc(s.stale, func(f former) bool {
		over := s.now.After(f.till)
		if over {
			s.driver.Take(f.ref)
		}
		return over
	})
}

// meddle has an operator who cannot wait send again what a saga has to send again, or put the
// same in its place: whatever comes of it, it is done once.
func (s *Sim) meddle() {
	var all []holdfast.Ref
	for _, ref := range s.log.begun {
		if s.book.Saga(ref.Type) != nil {
			all = append(all, ref)
		}
	}
	if len(all) == 0 {
		return
	}
	ref := all[s.Rand().IntN(len(all))]
	for _, p := range s.saga(ref).GetSteps() {
		for _, e := range []*messages.SagaErrand{p.Do, p.Undo} {
			if phase := e.GetPhase(); phase != messages.SagaPhase_SAGA_PHASE_PAUSING && phase != messages.SagaPhase_SAGA_PHASE_EXHAUSTED {
				continue
			}
			var c holdfast.Command = &messages.SagaRetry{Step: p.Name, Reason: "I cannot wait"}
			if s.Rand().IntN(2) == 0 {
				c = &messages.SagaEdit{Step: p.Name, Command: e.Command, Reason: "to see whether it helps"}
			}
			s.note("an operator meddles with %s", ref)
			s.Send(ref.String(), c)
		}
	}
}

// land has a commit reach the log after its sender has given it up.
func (s *Sim) land(i int) {
	s.note("a commit reaches the log late, or too late")
	s.late[i]()
	s.late = without(s.late, i)
}

// skewed is the time by the clock of some node.
func (s *Sim) skewed() time.Time {
	if s.luck.fails(5) {
		return s.now.Add(time.Duration(s.Rand().IntN(4_000)-2_000) * time.Millisecond)
	}
	return s.now
}

// crash is what unwinds everything that is under way.
type crash struct{}

func (s *Sim) point() {
	if s.luck.point() {
		panic(crash{})
	}
}

// survives does f, or nodes die in it.
func (s *Sim) survives(f func() bool) (more bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			s.die()
			more = true
		}
	}()
	return f()
}

// die has those forget all that is not in the log who die: at least the ones that were doing
// something. What they had not noted as done is done again, and what was on its way may still
// arrive.
func (s *Sim) die() {
	s.note("nodes die")
	for _, ref := range s.driver.Active() {
		if ref == s.asked || !s.luck.survives() {
			s.driver.Take(ref)
		}
	}
	s.former = nil
	dead := map[*follower]bool{nil: false} // clients, who live elsewhere
	if s.doing != nil && s.doing.of != nil {
		dead[s.doing.of] = true
	}
	for i, f := range s.followers {
		if _, known := dead[f]; !known {
			dead[f] = !s.luck.survives()
		}
		if dead[f] {
			s.followers[i] = f.next()
		}
	}
	s.drop(func(j *job) bool {
		if _, known := dead[j.of]; !known {
			dead[j.of] = !s.luck.survives()
		}
		return dead[j.of]
	})
	s.doing, s.asked = nil, holdfast.Ref{}
}
