package holdfasttest

import (
	"errors"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

const (
	// troubled is for how many steps things go wrong.
	troubled = 400
	// endless is how many steps are taken for a run that does not end.
	endless = 20_000
	// resumed is how often an operator resumes the sagas that are stuck: by then nothing goes
	// wrong any more.
	resumed = 1
)

// run lets things happen until nothing does any more.
func (s *Sim) run() {
	helped := 0
	for step := 0; ; step++ {
		if step == troubled {
			s.luck.heal()
		}
		if step == endless {
			panic(simError{errors.New("it does not come to an end")})
		}
		if s.survives(s.step) {
			s.always()
			continue
		}
		if s.luck.heal(); helped == resumed || !s.help() {
			return
		}
		helped++
	}
}

func (s *Sim) always() {
	if s.world.Always == nil {
		return
	}
	if err := s.world.Always(s); err != nil {
		panic(simError{err})
	}
}

// help has an operator resume what is stuck, and reports whether something was.
func (s *Sim) help() (helped bool) {
	for _, ref := range s.log.begun {
		if st := s.saga(ref); st != nil && st.Status == string(sagas.Stuck) {
			s.note("an operator resumes %s", ref)
			s.Send(ref.String(), &messages.SagaResume{Reason: "to see whether it works again"})
			helped = true
		}
	}
	return helped
}

// step lets one thing happen, and reports whether there was any.
func (s *Sim) step() bool {
	r := s.Rand()
	s.now = s.now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
	s.disturb()
	s.follow()
	next, due := s.timer()
	switch busy := len(s.jobs) > 0; {
	case len(s.strays) > 0 && (!busy && next < 0 || r.IntN(6) == 0):
		s.arrive(r.IntN(len(s.strays)))
	case next >= 0 && (!busy || due && r.IntN(4) == 0 || s.luck.fails(15)):
		s.ring(next)
	case busy:
		s.do(s.pick())
	case len(s.late) > 0:
		s.land(0)
	default:
		return false
	}
	if r.IntN(4) == 0 {
		s.keepNotes()
	}
	return true
}

// timer finds the next timer, -1 if there is none, and whether its time has come.
func (s *Sim) timer() (next int, due bool) {
	next = -1
	for i, t := range s.timers {
		if next < 0 || t.At.Before(s.timers[next].At) {
			next = i
		}
	}
	return next, next >= 0 && !s.timers[next].At.After(s.now)
}

// ring has a timer fire: late perhaps, or too early by a clock that is fast, or twice.
func (s *Sim) ring(i int) {
	t := s.timers[i]
	switch {
	case s.luck.fails(5):
		s.now = later(s.now, t.At).Add(time.Duration(s.Rand().IntN(60)) * time.Second)
	case !s.luck.fails(10):
		s.now = later(s.now, t.At)
	}
	s.point()
	if _, err := s.deliver(t.Command()); err != nil && passing(err) {
		return
	}
	s.point()
	if !s.luck.fails(10) {
		s.cancel(t.Saga, t.Key)
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func (s *Sim) cancel(saga holdfast.Ref, key string) {
	s.timers = slices.DeleteFunc(s.timers, func(t sagas.Timer) bool { return t.Saga == saga && t.Key == key })
}

// do does a job. When somebody dies in it, or it fails, it is done again.
func (s *Sim) do(j *job) {
	s.doing = j
	s.point()
	done := true
	switch t := j.task.(type) {
	case sagas.Timer:
		s.cancel(t.Saga, t.Key)
		s.timers = append(s.timers, t)
	case sagas.Cancel:
		s.cancel(t.Saga, t.Key)
	case sagas.Command:
		done = s.send(j, t)
	}
	s.point()
	if s.doing = nil; done {
		s.done(j)
	}
}

// send sends the command of a job, and reports whether that is all.
func (s *Sim) send(j *job, c sagas.Command) (done bool) {
	receipt, err := s.deliver(c)
	if s.luck.fails(10) {
		s.strays = append(s.strays, c)
	}
	s.point()
	if c.Report != nil {
		j.task = c.Report(receipt, err) // what is known now is not asked again
		return false
	}
	return err == nil || !passing(err)
}

// arrive has a command arrive for which nobody waits any more.
func (s *Sim) arrive(i int) {
	c := s.strays[i]
	s.strays = without(s.strays, i)
	_, _ = s.deliver(c)
}

// deliver has a command decided on, unless it gets lost, or the answer does.
func (s *Sim) deliver(c sagas.Command) (holdfast.Receipt, error) {
	switch {
	case s.luck.fails(15):
		if s.Rand().IntN(2) == 0 {
			s.strays = append(s.strays, c)
		}
		return s.undone(c, holdfast.CodeUncertain, "the request got lost, or comes late")
	case s.luck.fails(40):
		return s.undone(c, holdfast.CodeUnavailable, "the aggregate cannot be reached")
	case s.luck.fails(60):
		return s.undone(c, holdfast.CodeOverloaded, "too much waits there")
	case s.types[c.To.Type] == nil:
		return s.undone(c, holdfast.CodeUnknown, "there is no such aggregate type")
	}
	s.fence()
	s.asked = c.To
	a := s.driver.Ask(s.def(c.To), s.request(c.To, c.Command, c.At(s.skewed())))
	s.asked = holdfast.Ref{}
	s.answered(c, a.Receipt, a.Err)
	if s.luck.fails(15) {
		return s.undone(c, holdfast.CodeUncertain, "the answer got lost")
	}
	return a.Receipt, a.Err
}

func (s *Sim) undone(c sagas.Command, code holdfast.Code, why string) (holdfast.Receipt, error) {
	err := holdfast.Errorf(code, "%s", why)
	s.answered(c, holdfast.Receipt{}, err)
	return holdfast.Receipt{}, err
}

// passing reports whether a failure may be another the next time.
func passing(err error) bool {
	switch holdfast.CodeOf(err) {
	case holdfast.CodeUnavailable, holdfast.CodeOverloaded, holdfast.CodeUncertain, holdfast.CodeConflict:
		return true
	default:
		return false
	}
}
