package timers

import (
	"context"
	"time"
)

// Hurry makes what takes seconds take as long as is given.
func (c Config) Hurry(patience, pause time.Duration) Config {
	c.patience, c.pauses = patience, pauses{first: pause, most: 8 * pause}
	return c
}

// Last gives the sequence of what is pending, and Remove removes it if it is still that.
var (
	Last   = (*Timers).last
	Remove = (*Timers).remove
)

// PauseAfter tells how long a timer rests after so many failures.
func PauseAfter(failures uint64) time.Duration {
	c, _ := Config{}.withDefaults()
	return c.pauses.after(failures)
}

// An Outcome is what a single try to set a timer came to.
type Outcome struct{ Set, Perhaps, Final bool }

// Try sets a timer as Set does, but once.
func (t *Timers) Try(ctx context.Context, timer Timer) (Outcome, error) {
	m, err := timer.schedule(t.context)
	if err != nil {
		return Outcome{}, err
	}
	if no := t.setter.send(ctx, m); no != nil {
		return Outcome{Perhaps: no.perhaps, Final: no.final}, nil
	}
	return Outcome{Set: true}, nil
}
