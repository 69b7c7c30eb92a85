package timers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
)

// Cancel removes the timer that is pending with this key, durably. That there is none,
// since it has fired or never was, is no error. One that another Set puts in its place
// meanwhile stays.
//
// A timer that fires while it is cancelled may be handled all the same. The server has then
// taken it out before, and when its message comes it removes whatever is pending with the
// key, so of a timer that was set with the same key again nothing would be left: it is
// handled now, at the time of the first. Give every timer a key of its own, or have a
// handle that comes too early set its timer again.
//
// The errors are ErrMalformed, ErrUnavailable when it is certainly not cancelled, and
// ErrUncertain when it may or may not be. While JetStream is not ready Cancel tries again
// until ctx ends.
func (t *Timers) Cancel(ctx context.Context, of holdfast.Ref, key string) error {
	timer := Timer{For: of, Key: key}
	subject, err := timer.subject(t.context)
	if err != nil {
		return holdfast.Errorf(holdfast.CodeMalformed, "cancel timer %s: %w", timer, err)
	}
	pending, err := t.last(ctx, subject.String())
	if err != nil {
		return holdfast.Errorf(holdfast.CodeUnavailable, "cancel timer %s: %w", timer, err)
	}
	if err := t.remove(ctx, subject.String(), pending); err != nil {
		return holdfast.Errorf(holdfast.CodeOf(err), "cancel timer %s: %w", timer, err)
	}
	return nil
}

// remove deletes what is pending on a subject if it is still that of this sequence.
func (t *Timers) remove(ctx context.Context, subject string, pending uint64) error {
	if pending == 0 {
		return nil
	}
	err := t.delete(ctx, pending)
	if err == nil {
		return nil
	}
	// The server has one code for a message that is not there and for one that it does not
	// delete.
	now, lookErr := t.last(ctx, subject)
	switch {
	case lookErr != nil:
		return holdfast.Errorf(holdfast.CodeUncertain, "%w", err)
	case now == pending:
		return holdfast.Errorf(holdfast.CodeUnavailable, "%w", err)
	}
	return nil
}

// last gives the sequence of what is pending on a subject, as the stream's leader knows it;
// 0 for nothing.
func (t *Timers) last(ctx context.Context, subject string) (seq uint64, err error) {
	var answer struct {
		Message struct {
			Seq uint64 `json:"seq"`
		} `json:"message"`
	}
	err = t.ask(ctx, "$JS.API.STREAM.MSG.GET."+t.stream, fmt.Appendf(nil, `{"last_by_subj":%q}`, subject), &answer)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return 0, nil
	}
	return answer.Message.Seq, err
}

func (t *Timers) delete(ctx context.Context, seq uint64) error {
	return t.ask(ctx, "$JS.API.STREAM.MSG.DELETE."+t.stream, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, seq), nil)
}

// ask asks JetStream until there is an answer, and reads it into answer, if not nil.
func (t *Timers) ask(ctx context.Context, subject string, body []byte, answer any) error {
	return retry(ctx, func(ctx context.Context) error { return t.askOnce(ctx, subject, body, answer) })
}

func (t *Timers) askOnce(ctx context.Context, subject string, body []byte, answer any) error {
	m, err := t.conn.RequestWithContext(ctx, subject, body)
	if err != nil {
		return fmt.Errorf("ask stream %s: %w", t.stream, err)
	}
	var a struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return fmt.Errorf("ask stream %s: the answer cannot be read: %w", t.stream, err)
	}
	switch {
	case a.Error != nil && a.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return t.gone()
	case a.Error != nil:
		return a.Error
	case answer != nil:
		return json.Unmarshal(m.Data, answer)
	}
	return nil
}
