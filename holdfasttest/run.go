package holdfasttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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
		switch {
		case step == troubled:
			s.luck.heal()
		case step == endless:
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
	s.still = nil
	if err := s.world.Always(s); err != nil {
		panic(simError{err})
	}
}

// help has an operator resume what is stuck, and reports whether something was.
func (s *Sim) help() (any bool) {
	for _, ref := range s.refs() {
		if s.book.Saga(ref.Type) == nil {
			continue
		}
		if st, begun := s.state(ref).(*messages.SagaState); begun && st.Status == string(sagas.Stuck) {
			s.told.add("%s an operator resumes %s", s.clock(), ref)
			s.Send(ref.String(), &messages.SagaResume{Reason: "to see whether it works again"})
			any = true
		}
	}
	return any
}

// survives does f, or all die in it.
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

func (s *Sim) point() {
	if s.luck.point() {
		panic(crash{})
	}
}

// die forgets all that is not in the log: what was not noted as done is done again, and what
// was on its way may still arrive.
func (s *Sim) die() {
	s.told.add("%s all nodes die", s.clock())
	s.driver.TakeAll()
	s.returns = nil
	var kept []*job
	for _, j := range s.jobs {
		switch {
		case j.of == nil:
			kept = append(kept, j) // a client, who lives elsewhere
		case s.luck.fails(3):
			s.strays = append(s.strays, j)
		}
	}
	s.jobs = kept
	for d, n := range s.noted {
		s.read[d] = n
	}
	for d := range s.read {
		if _, ok := s.noted[d]; !ok {
			delete(s.read, d)
		}
	}
}

// step lets one thing happen, and reports whether there was any.
func (s *Sim) step() bool {
	s.now = s.now.Add(time.Duration(s.Rand().IntN(20)) * time.Millisecond)
	s.still = nil
	s.follow()
	if s.luck.fails(30) {
		s.changeOwner()
	}
	if s.luck.fails(30) && len(s.returns) > 0 {
		s.told.add("%s a former owner comes back", s.clock())
		i := s.Rand().IntN(len(s.returns))
		s.returns[i]()
		s.returns = without(s.returns, i)
	}
	switch {
	case len(s.strays) > 0 && (len(s.jobs) == 0 || s.Rand().IntN(4) == 0):
		i := s.Rand().IntN(len(s.strays))
		j := s.strays[i]
		s.strays = without(s.strays, i)
		s.stray(j)
	case len(s.jobs) > 0:
		i := s.Rand().IntN(len(s.jobs))
		j := s.jobs[i]
		s.jobs = without(s.jobs, i)
		s.do(j)
	default:
		return s.ring()
	}
	if s.Rand().IntN(4) == 0 {
		s.note()
	}
	return true
}

// follow reads what is new in the log.
func (s *Sim) follow() {
	s.readOn()
	for _, d := range s.world.Sagas {
		for ; s.read[d] < len(s.log); s.read[d]++ {
			e := s.log[s.read[d]]
			tasks, err := s.book.Tasks(d, e.ref, e.commit)
			if err != nil {
				panic(simError{err})
			}
			for _, task := range tasks {
				s.jobs = append(s.jobs, &job{task: task, of: d, record: s.read[d]})
			}
		}
	}
}

// note keeps how far the log has been done with.
func (s *Sim) note() {
	for d, n := range s.read {
		for _, j := range s.jobs {
			if j.of == d {
				n = min(n, j.record)
			}
		}
		s.noted[d] = n
	}
}

// changeOwner has an aggregate activated anew, while its former owner knows nothing of it.
func (s *Sim) changeOwner() {
	refs := s.refs()
	if len(refs) == 0 {
		return
	}
	ref := refs[s.Rand().IntN(len(refs))]
	s.told.add("%s %s gets another owner", s.clock(), ref)
	s.returns = append(s.returns, s.driver.Take(ref))
}

// ring has the next timer fire, late perhaps.
func (s *Sim) ring() bool {
	if len(s.timers) == 0 {
		return false
	}
	i := 0
	for k, t := range s.timers {
		if t.At.Before(s.timers[i].At) {
			i = k
		}
	}
	t := s.timers[i]
	if t.At.After(s.now) {
		s.now = t.At
	}
	if s.luck.fails(5) {
		s.now = s.now.Add(time.Duration(s.Rand().IntN(60)) * time.Second)
	}
	s.point()
	if a := s.ask(t.Command(s.now)); a == nil || !passing(a) {
		s.point()
		s.timers = without(s.timers, i)
	}
	return true
}

// do does a job. When it dies in it, or fails, the job is done again.
func (s *Sim) do(j *job) {
	defer func() {
		if r := recover(); r != nil {
			if j.of == nil {
				s.jobs = append(s.jobs, j)
			}
			panic(r)
		}
	}()
	s.point()
	switch t := j.task.(type) {
	case sagas.Timer:
		if !slices.ContainsFunc(s.timers, func(o sagas.Timer) bool { return o.Saga == t.Saga && o.Key == t.Key }) {
			s.timers = append(s.timers, t)
		}
	case sagas.Cancel:
		s.timers = slices.DeleteFunc(s.timers, func(o sagas.Timer) bool { return o.Saga == t.Saga && o.Key == t.Key })
	case sagas.Command:
		s.send(j, t)
	}
	s.point()
}

func (s *Sim) send(j *job, c sagas.Command) {
	receipt, err := s.deliver(c)
	if s.luck.fails(10) {
		s.strays = append(s.strays, &job{task: c})
	}
	s.point()
	switch {
	case c.Report != nil:
		s.jobs = append(s.jobs, &job{task: c.Report(receipt, err), of: j.of, record: j.record})
	case err != nil && passing(err):
		s.jobs = append(s.jobs, j)
	}
}

// stray has a command arrive that nobody waits for any more.
func (s *Sim) stray(j *job) {
	if c, ok := j.task.(sagas.Command); ok {
		_, _ = s.deliver(c)
	}
}

// deliver has a command decided on, unless it gets lost, or the answer does.
func (s *Sim) deliver(c sagas.Command) (holdfast.Receipt, error) {
	if s.luck.fails(15) {
		s.tell(c, "gets lost")
		return holdfast.Receipt{}, holdfast.Errorf(holdfast.CodeUncertain, "the request got lost")
	}
	if s.types[c.To.Type] == nil {
		return holdfast.Receipt{}, holdfast.Errorf(holdfast.CodeUnknown, "there is no aggregate type %q", c.To.Type)
	}
	a := s.driver.Ask(s.def(c.To), s.request(c.To, c.Command, c.Delivery))
	if a.Err != nil {
		s.tell(c, "%v", a.Err)
	} else {
		s.tell(c, "%s", strings.Join(append([]string{"accepted"}, a.Receipt.Events...), " "))
	}
	if s.luck.fails(15) {
		s.tell(c, "the answer gets lost")
		return holdfast.Receipt{}, holdfast.Errorf(holdfast.CodeUncertain, "the answer got lost")
	}
	return a.Receipt, a.Err
}

func (s *Sim) ask(c sagas.Command) error {
	_, err := s.deliver(c)
	return err
}

// passing reports whether a failure may be another the next time.
func passing(err error) bool {
	switch holdfast.CodeOf(err) {
	case holdfast.CodeUnavailable, holdfast.CodeOverloaded, holdfast.CodeUncertain, holdfast.CodeConflict:
		return true
	}
	return false
}

func (s *Sim) tell(c sagas.Command, format string, args ...any) {
	if s.told != nil {
		s.told.add("%s %s for %s: "+format, append([]any{s.clock(), describe(c.Command), c.To}, args...)...)
	}
}

func (s *Sim) clock() string { return fmt.Sprintf("%10v", s.now.Sub(begin)) }
