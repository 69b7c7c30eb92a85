package inbox

import (
	"context"
	"time"

	"github.com/holdfast-run/holdfast"
)

// A Backlog tells what waits in the inbox, whichever node executes it.
type Backlog struct {
	// Waiting are all commands that have no outcome yet, those that are parked and those behind
	// them too, and Oldest is when the first of them was accepted.
	Waiting uint64     `json:"waiting"`
	Oldest  *time.Time `json:"oldest,omitempty"`
	// Parked are the aggregates of which a command is.
	Parked int `json:"parked"`
}

// Backlog tells what waits. The error is ErrUnavailable: ask again.
func (b *Inbox) Backlog(ctx context.Context) (out Backlog, err error) {
	info, err := b.accepted.Info(ctx)
	if err != nil {
		return out, holdfast.Errorf(holdfast.CodeUnavailable, "what waits cannot be read (%w): ask again", err)
	}
	if out.Waiting = info.State.Msgs; out.Waiting > 0 {
		first := info.State.FirstTime.UTC()
		out.Oldest = &first
	}
	all, err := b.allMarks(ctx)
	for _, m := range all {
		if (Filter{}).picks(m) {
			out.Parked++
		}
	}
	return out, err
}
