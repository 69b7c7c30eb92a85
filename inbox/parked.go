package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/bucket"
	"github.com/holdfast-run/holdfast/internal/serve"
)

// A Parked is a command that could not be handled. All later ones of its aggregate wait
// behind it.
type Parked struct {
	// Ref is the aggregate, as <type>/<encoded id>.
	Ref       string `json:"ref"`
	Command   string `json:"command"`
	CommandID string `json:"commandId"`
	// Sequence of the command in the stream, and Accepted when it came.
	Sequence uint64    `json:"sequence"`
	Accepted time.Time `json:"accepted"`
	// Code and Reason say why it is parked: the whole error, which clients are not told.
	Code   string `json:"code"`
	Reason string `json:"reason"`
	// Attempts are how often it has been tried, and Since when it was parked first.
	Attempts int       `json:"attempts"`
	Since    time.Time `json:"since"`
	// Wish is what an operator wants done and what has not been done yet.
	Wish *Wish `json:"wish,omitempty"`
}

// A Wish is an operator's.
type Wish struct {
	// Skip it, or else try it again.
	Skip   bool      `json:"skip"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// A mark is what is kept of the first command of a lane beside the stream: why it is parked,
// or what will have become of it.
type mark struct {
	Parked
	// Verdict is the refusal of a command of which it is not certain yet that it will never
	// take effect. Such a one is not parked.
	Verdict *verdict `json:"verdict,omitempty"`

	revision uint64
}

type verdict struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Status  int    `json:"status"`
}

func (v *verdict) failure() serve.Failure { return serve.Failure(*v) }

func readMark(e jetstream.KeyValueEntry) (*mark, error) {
	m := &mark{revision: e.Revision()}
	if err := json.Unmarshal(e.Value(), m); err != nil {
		return nil, fmt.Errorf("what is parked under %s cannot be read: %w", e.Key(), err)
	}
	return m, nil
}

// writeMark writes a mark in the place of the one that is known.
func (b *Inbox) writeMark(ctx context.Context, lane string, m *mark) error {
	value, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var revision uint64
	if m.revision == 0 {
		revision, err = b.parked.Create(ctx, lane, value)
	} else {
		revision, err = b.parked.Update(ctx, lane, value, m.revision)
	}
	if err == nil {
		m.revision = revision
	}
	return err
}

// mark gives what is kept of a lane; nil when nothing is.
func (b *Inbox) mark(ctx context.Context, lane string) (*mark, error) {
	e, err := b.parked.Get(ctx, lane)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readMark(e)
}

// clearMark removes what is kept of a command that is done, and not what another holder of the
// seat has kept of a later one of the lane.
func (b *Inbox) clearMark(ctx context.Context, lane string, m *mark) error {
	err := b.purgeMark(ctx, lane, m)
	if !bucket.Conflict(err) {
		return err
	}
	found, err := b.mark(ctx, lane)
	if err != nil || found == nil || found.Sequence != m.Sequence {
		return err
	}
	return b.purgeMark(ctx, lane, found) // an operator has wished something meanwhile
}

func (b *Inbox) purgeMark(ctx context.Context, lane string, m *mark) error {
	return b.parked.Purge(ctx, lane, jetstream.LastRevision(m.revision), jetstream.PurgeTTL(goneFor))
}

// shorten makes a text fit into the bucket.
func shorten(text string) string {
	const most = 4 << 10
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
