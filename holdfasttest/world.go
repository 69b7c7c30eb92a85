package holdfasttest

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
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
// on, decides: answers get lost, and requests; commands come twice and late; whoever sends
// them dies between any two steps, and does again what was not noted as done; aggregates
// change their owner, and the former one comes back; timers are late. Everything happens in
// virtual time, on the memory store and with the runtime's own engine.
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
		t.Errorf("seed %d, %v:\n%s", w.Seed, err, told)
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
		c := &crashPoint{at: at}
		err := play(&w, book, c, nil)
		if c.passed < at {
			if err != nil {
				t.Errorf("without a crash: %v", err)
			}
			return at - 1
		}
		if err != nil {
			told := &telling{}
			_ = play(&w, book, &crashPoint{at: at}, told)
			t.Errorf("crash at point %d: %v\n%s", at, err, told)
			return at
		}
	}
}

// A telling is what happened in a run, line by line.
type telling struct{ strings.Builder }

func (t *telling) add(format string, args ...any) {
	if t != nil {
		fmt.Fprintf(t, format+"\n", args...)
	}
}

// play plays one run, and says what was wrong.
func play(w *World, book *sagas.Book, luck luck, told *telling) (err error) {
	s := newSim(w, book, luck, told)
	defer func() {
		if r := recover(); r != nil {
			failed, ok := r.(simError)
			if !ok {
				panic(r)
			}
			err = failed.error
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
