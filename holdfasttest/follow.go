package holdfasttest

import "github.com/holdfast-run/holdfast/sagas"

// A follower reads a partition of the log on behalf of a saga type, and does what it asks
// for.
type follower struct {
	saga      *sagas.Saga
	partition uint32
	read      int // how far it has read
	noted     int // how far it has noted that all is done
}

// next is who takes its place.
func (f *follower) next() *follower {
	return &follower{saga: f.saga, partition: f.partition, read: f.noted, noted: f.noted}
}

// A job is something under way.
type job struct {
	task   sagas.Task
	of     *follower // nil for a client's
	record int       // of the log, from which it comes
	lane   string    // within which jobs of one follower are done in order
}

// follow has those who follow the log read what is new there.
func (s *Sim) follow() {
	for _, f := range s.followers {
		for ; f.read < len(s.log.entries); f.read++ {
			if e := s.log.entries[f.read]; e.partition == f.partition && s.book.Concerns(f.saga, e.ref.Type) {
				s.take(f, e)
			}
		}
	}
}

func (s *Sim) take(f *follower, e entry) {
	tasks, err := s.book.Tasks(f.saga, e.ref, e.commit)
	if err != nil {
		panic(simError{err})
	}
	for _, task := range tasks {
		if _, list := task.(sagas.Listing); !list {
			s.jobs = append(s.jobs, &job{task: task, of: f, record: f.read, lane: task.Lane()})
		}
	}
}

// pick draws a job that may be done now.
func (s *Sim) pick() *job { return s.first(s.jobs[s.Rand().IntN(len(s.jobs))]) }

// first finds what has to be done before all else in a job's lane.
func (s *Sim) first(j *job) *job {
	if j.lane == "" {
		return j
	}
	for _, first := range s.jobs {
		if first.of == j.of && first.lane == j.lane {
			return first
		}
	}
	return j
}

// done takes a job off.
func (s *Sim) done(j *job) {
	for i := range s.jobs {
		if s.jobs[i] == j {
			s.jobs = without(s.jobs, i)
			return
		}
	}
}

// keepNotes has the followers note how far all is done.
func (s *Sim) keepNotes() {
	for _, f := range s.followers {
		f.noted = f.read
		for _, j := range s.jobs {
			if j.of == f {
				f.noted = min(f.noted, j.record)
			}
		}
	}
}

// replace puts another follower in the place of one, which may not notice for a while, and
// then goes on with what it has begun.
func (s *Sim) replace(i int) {
	f := s.followers[i]
	s.note("another node follows the log for %s", f.saga.Name())
	s.followers[i] = f.next()
	if s.Rand().IntN(2) == 0 {
		return
	}
	s.drop(func(j *job) bool { return j.of == f })
}

// drop forgets jobs. Of those that were on their way, some arrive all the same.
func (s *Sim) drop(which func(*job) bool) {
	var kept []*job
	for _, j := range s.jobs {
		if !which(j) {
			kept = append(kept, j)
		} else if c, ok := j.task.(sagas.Command); ok && s.first(j) == j && s.Rand().IntN(2) == 0 {
			s.strays = append(s.strays, c)
		}
	}
	s.jobs = kept
}
