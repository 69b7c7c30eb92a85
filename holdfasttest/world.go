package holdfasttest

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/sagas"
)

// A World is what [Simulate] runs: sagas and the aggregates with which they deal, what
// happens to them, and what has to be true in the end.
type World struct {
	// Types are the aggregate types, without those of the sagas.
	Types []holdfast.Definition
	Sagas []*sagas.Saga
	// Story sends commands. It is called once a run, before anything else, and may draw
	// from [Sim.Rand] and from nothing else that changes.
	Story func(*Sim)
	// Always, if given, is called after each thing that happens, and says what is wrong.
	Always func(*Sim) error
	// Check is called when nothing moves any more, and says what is wrong. That every saga
	// has come to its end, and that no command took effect twice, is checked without it.
	Check func(*Sim) error
	// Stuck sagas are none of what is wrong, if true. An operator has resumed them some
	// times by then.
	Stuck bool
	// Seed, if not 0, has just this run played, and told whatever comes of it.
	Seed uint64
}

// Simulate plays a world so many times, each time with other faults, which its seed, from 1
// on, decides. Everything happens in virtual time, with the runtime's own engine, on a log in
// memory of one partition or several. What goes wrong:
//
//   - Requests and answers get lost, come twice, or so late that nobody waits for them any
//     more; commits reach the log late, or not at all; aggregates cannot be reached or read.
//   - Nodes die between any two steps; what was not noted as done is done again. Aggregates
//     get another owner, and the former one comes back. So do those who follow the log on
//     behalf of sagas: two do the same for a while.
//   - Snapshots are taken and used, or lost. Command ids are soon forgotten.
//   - Timers ring late, too early by a clock that is fast, or twice, and while other things
//     are on their way. Clocks differ, and at times all stand still.
//   - An operator has what pauses tried again at once, or sent anew, and resumes what is
//     stuck.
//
// What does not: definitions do not change while sagas run, commands are decided on one at a
// time, no log is damaged, and no client gives up.
//
// It fails with the first seed whose run ends in what is wrong, and tells what happened.
// The same seed always plays the same run.
func Simulate(t TB, runs int, w World) {
	t.Helper()
	book, err := sagas.NewBook(w.Types, w.Sagas...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if w.Seed != 0 {
		told := &telling{}
		err := play(&w, book, newChance(w.Seed), told)
		if err == nil {
			err = errors.New("nothing is wrong")
		}
		t.Errorf("seed %d: %v\n%s", w.Seed, err, told)
		return
	}
	if seed := w.search(book, uint64(runs)); seed != 0 {
		told := &telling{}
		err := play(&w, book, newChance(seed), told)
		t.Errorf("seed %d: %v\n%s\nSeed: %d in the World plays this again.", seed, err, told, seed)
	}
}

// search plays the seeds from 1 on, on all processors, and gives the lowest one that fails;
// 0 if none does.
func (w *World) search(book *sagas.Book, runs uint64) uint64 {
	var next, found atomic.Uint64
	found.Store(runs + 1)
	// A run leaves much behind, and what is alive is so little that it would be collected all
	// the time: this is never touched, and makes it seem more.
	ballast := make([]byte, 64<<20)
	defer runtime.KeepAlive(ballast)
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for seed := next.Add(1); seed < found.Load(); seed = next.Add(1) {
				if play(w, book, newChance(seed), nil) == nil {
					continue
				}
				for lowest := found.Load(); seed < lowest && !found.CompareAndSwap(lowest, seed); lowest = found.Load() {
				}
			}
		})
	}
	all.Wait()
	if seed := found.Load(); seed <= runs {
		return seed
	}
	return 0
}

// Crash plays a world without other faults than one: whoever sends commands, and all owners,
// die at one point, before or after something is recorded, sent, answered or timed. It plays
// it as often as there are such points, and gives their number.
func Crash(t TB, w World) (points int) {
	t.Helper()
	book, err := sagas.NewBook(w.Types, w.Sagas...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for at := 1; ; at++ {
		c := newCrashPoint(at)
		err := play(&w, book, c, nil)
		if c.passed < at {
			if err != nil {
				t.Errorf("without a crash: %v", err)
			}
			return at - 1
		}
		if err != nil {
			told := &telling{}
			_ = play(&w, book, newCrashPoint(at), told)
			t.Errorf("crash at point %d: %v\n%s", at, err, told)
			return at
		}
	}
}

// play plays one run, and says what was wrong.
func play(w *World, book *sagas.Book, luck luck, told *telling) (err error) {
	s := newSim(w, book, luck, told)
	defer func() {
		if r := recover(); r != nil {
			if failed, ok := r.(simError); ok {
				err = failed.error
			} else { // of the story, or the check: with the seed it can be found
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}
	}()
	w.Story(s)
	s.run()
	return errors.Join(s.verify(), s.judge())
}

func (s *Sim) judge() error {
	if s.world.Check == nil {
		return nil
	}
	return s.world.Check(s)
}
