package timers

import "time"

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
