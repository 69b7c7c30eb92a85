package runner

import (
	"context"
	"fmt"
	"time"
)

const (
	// askIdle is how often a sink with which nothing is done is asked whether it is there, and
	// answers how long it may take: together they are less than two seconds.
	askIdle = 500 * time.Millisecond
	answers = 1250 * time.Millisecond
)

// ask finds out that the sink is gone while there is nothing to write to it: it may be read. One
// unit asks for all of its generation.
func (u *unit) ask(ctx context.Context) {
	if u.id.Partition != 0 || u.id.Shard != 0 {
		return
	}
	ticks := time.NewTicker(askIdle)
	defer ticks.Stop()
	for before := u.steps.Load(); ; {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
		steps := u.steps.Load()
		if steps != before || u.told.busy() {
			before = steps
			u.told.miss("", time.Time{})
			continue
		}
		u.told.miss(u.missing(ctx), u.runner.config.Now().UTC())
	}
}

// missing says why the sink does not answer; empty when it does.
func (u *unit) missing(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, answers)
	defer cancel()
	_, err := u.sink.Checkpoint(ctx, u.id)
	switch {
	case err == nil:
		return ""
	case ctx.Err() != nil:
		return fmt.Sprintf("the sink has not answered for %v: %v", answers, err)
	}
	return err.Error()
}

// busy reports whether a transaction is under way, or it is known otherwise how things stand.
func (t *told) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inside || t.state != ""
}

func (t *told) miss(reason string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.missing == "" || reason == "" {
		t.missed = now
	}
	t.missing = reason
}
