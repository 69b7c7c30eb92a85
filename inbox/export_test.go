package inbox

import "time"

// WithBefore has f called before each step of the runner; it is skipped when f returns an error.
func (c RunnerConfig) WithBefore(f func(step, commandID string) error) RunnerConfig {
	c.before = f
	return c
}

// Steps are all that a command may go through, in their order.
var Steps = []string{stepSend, stepTell, stepRemove}

// Kill ends what is under way at once, as a crash does, but that it gives up its seat.
func (r *Runner) Kill() { r.cancel() }

// WithKept has at most so many bytes of bodies kept.
func (c RunnerConfig) WithKept(bytes int) RunnerConfig {
	c.kept = bytes
	return c
}

// WithAsking has a request for messages wait for so long.
func (c RunnerConfig) WithAsking(d time.Duration) RunnerConfig {
	c.asking = d
	return c
}
