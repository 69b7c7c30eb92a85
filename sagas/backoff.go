package sagas

import (
	"fmt"
	"hash/fnv"
	"time"
)

// A Backoff says after which pauses an attempt is made again. Each pause is twice the one
// before, up to Max, and up to a quarter of it shorter, so that those who failed together
// do not come again together.
type Backoff struct {
	First time.Duration
	Max   time.Duration
	// Attempts is how many there are, the first included.
	Attempts int
}

// DefaultBackoff is that of a step without [Retry]: 20 attempts within some ten minutes.
var DefaultBackoff = Backoff{First: 200 * time.Millisecond, Max: time.Minute, Attempts: 20}

func (b Backoff) check() error {
	switch {
	case b.First <= 0 || b.Max < b.First:
		return fmt.Errorf("the first pause is %v and the longest %v: choose more than nothing, and the longest not below the first", b.First, b.Max)
	case b.Attempts < 1:
		return fmt.Errorf("%d attempts: choose at least one", b.Attempts)
	}
	return nil
}

// pause is how long to wait after an attempt, which counts from 1. What the jitter depends
// on is the command's id, so that the machine stays pure.
func (b Backoff) pause(id string, attempt uint32) time.Duration {
	p := b.First
	for range attempt - 1 {
		if p >= b.Max/2 {
			p = b.Max
			break
		}
		p *= 2
	}
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, id, attempt) // a hash does not fail
	return p - p/4*time.Duration(h.Sum32()%1000)/1000
}
