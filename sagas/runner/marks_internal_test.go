package runner

import (
	"math/rand/v2"
	"testing"
)

// What is noted as done never runs backwards, reaches up to the first record of which a task
// is not done, and in the end to the last one.
func TestMarks(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var noted uint64
		m := &marks{open: map[uint64]int{}, note: func(done uint64) {
			if done < noted {
				t.Fatalf("seed %d: %d after %d", seed, done, noted)
			}
			noted = done
		}}
		var open []uint64
		seq, last := uint64(rnd.IntN(5)), 100+uint64(rnd.IntN(100))
		for seq < last || len(open) > 0 {
			if seq < last && (len(open) == 0 || rnd.IntN(2) == 0) {
				seq++
				tasks := max(0, rnd.IntN(6)-2)
				for range tasks {
					open = append(open, seq)
				}
				m.begin(seq, tasks)
			} else {
				i := rnd.IntN(len(open))
				done := open[i]
				open = append(open[:i], open[i+1:]...)
				m.end(done)
			}
			want := seq
			for _, o := range open {
				want = min(want, o-1)
			}
			if noted != want {
				t.Fatalf("seed %d: %d is noted, want %d", seed, noted, want)
			}
		}
		if len(m.open) > 0 || len(m.order) > 0 {
			t.Fatalf("seed %d: %d records are kept", seed, len(m.order))
		}
	}
}
