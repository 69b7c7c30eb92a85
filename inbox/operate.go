package inbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/bucket"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

const (
	defaultPage = 100
	maxPage     = 1000
	maxBehind   = 100
	maxReason   = 1024
)

// A Filter picks parked commands. What is empty picks all.
type Filter struct {
	Type, Command, Code string
}

func (f Filter) picks(m *mark) bool {
	typ, _, _ := strings.Cut(m.Ref, "/")
	return m.Verdict == nil && (f.Type == "" || f.Type == typ) &&
		(f.Command == "" || f.Command == m.Command) && (f.Code == "" || f.Code == m.Code)
}

// A Page says which of them are wanted: Limit of them, 100 by default and 1,000 at most, whose
// refs come after After.
type Page struct {
	After string
	Limit int
}

// Parked lists the parked commands, one for each aggregate that has one, in the order of their
// refs. When next is not empty there are more: ask again with it as After. The error is
// ErrMalformed, or ErrUnavailable: ask again.
func (b *Inbox) Parked(ctx context.Context, f Filter, p Page) (list []Parked, next string, err error) {
	if p.Limit < 0 || p.Limit > maxPage {
		return nil, "", holdfast.Errorf(holdfast.CodeMalformed, "limit: it is %d, want 1 to %d", p.Limit, maxPage)
	}
	p.Limit = cmp.Or(p.Limit, defaultPage)
	all, err := b.allMarks(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, m := range all {
		if !f.picks(m) || m.Ref <= p.After {
			continue
		}
		if len(list) == p.Limit {
			return list, list[len(list)-1].Ref, nil
		}
		list = append(list, m.Parked)
	}
	return list, "", nil
}

// allMarks gives what is kept, by ref.
func (b *Inbox) allMarks(ctx context.Context) ([]*mark, error) {
	unavailable := func(err error) error {
		return holdfast.Errorf(holdfast.CodeUnavailable, "what is parked cannot be read (%w): ask again", err)
	}
	watch, err := b.parked.Watch(ctx, jetstream.AllKeys, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() { _ = watch.Stop() }()
	all := map[string]*mark{} // one may be told twice, when it is written meanwhile
	for {
		select {
		case e, ok := <-watch.Updates():
			switch {
			case !ok:
				return nil, unavailable(errWatch)
			case e == nil:
				return slices.SortedFunc(maps.Values(all), func(x, y *mark) int { return cmp.Compare(x.Ref, y.Ref) }), nil
			}
			if m, err := readMark(e); err == nil { // others are none
				all[e.Key()] = m
			}
		case <-ctx.Done():
			return nil, unavailable(context.Cause(ctx))
		}
	}
}

// A Shown is a parked command with all that is known of it.
type Shown struct {
	Parked
	CorrelationID   string  `json:"correlationId,omitempty"`
	CausationID     string  `json:"causationId,omitempty"`
	User            string  `json:"user,omitempty"`
	ExpectedVersion *uint64 `json:"expectedVersion,omitempty"`
	// Data is the command in JSON; null when this build does not know it.
	Data json.RawMessage `json:"data"`
	// Behind are the commands that wait behind it, the first 100 of them, and More whether
	// there are others.
	Behind []Behind `json:"behind"`
	More   bool     `json:"more"`
}

// A Behind is a command that waits behind a parked one.
type Behind struct {
	Command   string    `json:"command"`
	CommandID string    `json:"commandId"`
	Sequence  uint64    `json:"sequence"`
	Accepted  time.Time `json:"accepted"`
}

// Show shows the parked command of an aggregate. The error is ErrUnknown when it has none,
// ErrMalformed when there can be no such aggregate, or ErrUnavailable: ask again.
func (b *Inbox) Show(ctx context.Context, of holdfast.Ref) (Shown, error) {
	m, lane, err := b.find(ctx, of, "")
	if err != nil {
		return Shown{}, err
	}
	s := Shown{Parked: m.Parked, Behind: []Behind{}}
	filter := string(b.config.Context) + "." + string(messages.KindAccepted) + "." + lane + ".*"
	for seq := m.Sequence; len(s.Behind) <= maxBehind; {
		raw, err := b.accepted.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return s, nil
		}
		if err != nil {
			return s, holdfast.Errorf(holdfast.CodeUnavailable, "what waits cannot be read (%w): ask again", err)
		}
		seq = raw.Sequence + 1
		c, err := readCommand(raw.Subject, raw.Header, raw.Data, raw.Sequence)
		if err != nil {
			continue
		}
		if c.sequence == m.Sequence {
			s.CorrelationID, s.CausationID, s.User, s.ExpectedVersion = c.meta.CorrelationID, c.meta.CausationID, c.meta.User, c.expected
			if cmd, err := b.decode(c); err == nil {
				s.Data, _ = serve.Show(cmd)
			}
			continue
		}
		s.Behind = append(s.Behind, Behind{c.subject.Name, c.meta.ID, c.sequence, c.meta.At.UTC()})
	}
	s.Behind, s.More = s.Behind[:maxBehind], true
	return s, nil
}

// find gives what is parked of an aggregate.
func (b *Inbox) find(ctx context.Context, of holdfast.Ref, commandID string) (m *mark, lane string, err error) {
	if _, err := messages.ParseType(of.Type); err != nil {
		return nil, "", holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	id, err := messages.EncodeID(of.ID)
	if err != nil {
		return nil, "", holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	lane = of.Type + "." + id.String()
	m, err = b.mark(ctx, lane)
	switch name := messages.FormatRef(of.Type, id); {
	case err != nil:
		return nil, "", holdfast.Errorf(holdfast.CodeUnavailable, "what is parked of %s cannot be read (%w): ask again", name, err)
	case m == nil || m.Verdict != nil:
		return nil, "", holdfast.Errorf(holdfast.CodeUnknown, "%s has no parked command", name)
	case commandID != "" && m.CommandID != commandID:
		return nil, "", holdfast.Errorf(holdfast.CodeConflict, "the parked command of %s is %s, not %s: look again", name, m.CommandID, commandID)
	}
	return m, lane, nil
}

// Retry has the parked command of an aggregate tried again, once, by whichever node executes
// commands, and returns when that is certain to happen. If it succeeds, or is refused by the
// domain, what waits behind it follows; else it is parked again with the new reason. The error
// is that of Show; ErrConflict when the command id is not that of the parked one (empty: of
// whichever it is), or when somebody wished something for it at the same time.
func (b *Inbox) Retry(ctx context.Context, of holdfast.Ref, commandID, operator string) error {
	_, err := b.retry(ctx, of, commandID, operator)
	return err
}

func (b *Inbox) retry(ctx context.Context, of holdfast.Ref, commandID, operator string) (*mark, error) {
	return b.wish(ctx, of, commandID, Wish{By: operator})
}

// Skip gives up the parked command of an aggregate: it is not executed, its outcome is 410 with
// the operator and the reason, and what waits behind it follows. It returns when that is certain
// to happen. The command id is required, so that none is skipped that nobody has looked at. An
// attempt of which it is not known what became of it may still take effect. Errors are those of
// Retry.
func (b *Inbox) Skip(ctx context.Context, of holdfast.Ref, commandID, operator, reason string) error {
	_, err := b.skip(ctx, of, commandID, operator, reason)
	return err
}

func (b *Inbox) skip(ctx context.Context, of holdfast.Ref, commandID, operator, reason string) (*mark, error) {
	switch {
	case commandID == "":
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "commandId: it is empty: name the command that is to be skipped")
	case strings.TrimSpace(reason) == "" || len(reason) > maxReason:
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "reason: it has %d bytes, want 1 to %d: say why the command is skipped", len(reason), maxReason)
	}
	return b.wish(ctx, of, commandID, Wish{Skip: true, By: operator, Reason: reason})
}

// wish gives what is kept then.
func (b *Inbox) wish(ctx context.Context, of holdfast.Ref, commandID string, w Wish) (*mark, error) {
	if err := messages.CheckUser(w.By); err != nil {
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "operator: %w", err)
	}
	m, lane, err := b.find(ctx, of, commandID)
	if err != nil {
		return nil, err
	}
	w.At = b.config.Now().UTC()
	m.Wish = &w
	err = b.writeMark(ctx, lane, m)
	switch {
	case bucket.Conflict(err):
		return nil, holdfast.Errorf(holdfast.CodeConflict, "%s has changed meanwhile: look again", m.Ref)
	case err != nil:
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "it is not certain that the wish was taken (%w): look again", err)
	}
	return m, nil
}
