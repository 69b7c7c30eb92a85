package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A mark says how much of a partition of the log is in the feed: all commits up to the
// sequence Done, and the first Events events of the one after it.
type mark struct {
	Done   uint64 `json:"done"`
	Events int    `json:"events,omitempty"`
}

// maxMarks is how many marks of a partition there may be, of which only the last is of use.
const maxMarks = 256

// lastMark reads the last mark of a partition, and its sequence in the stream, which is 0
// when there is none. It asks the leader: what another replica has may be older.
func (f *Feed) lastMark(ctx context.Context, partition uint32) (m mark, seq uint64, err error) {
	subject := f.config.Context.FeedMark(partition)
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	err = f.ask(ctx, "MSG.GET", map[string]any{"last_by_subj": subject}, &answer)
	if err == nil && answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return mark{}, 0, nil
		}
		err = answer.Error
	}
	if err != nil {
		return mark{}, 0, fmt.Errorf("read the mark %s: %w", subject, err)
	}
	if err := json.Unmarshal(answer.Message.Data, &m); err != nil || answer.Message.Seq == 0 || m.Events < 0 {
		return mark{}, 0, fmt.Errorf("the mark %s at %d cannot be read: it is %q", subject, answer.Message.Seq, answer.Message.Data)
	}
	return m, answer.Message.Seq, nil
}

// sweep removes the marks of a partition but the last.
func (f *Feed) sweep(ctx context.Context, partition uint32) error {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	err := f.ask(ctx, "PURGE", map[string]any{"filter": f.config.Context.FeedMark(partition), "keep": 1}, &answer)
	if err == nil && answer.Error != nil {
		err = answer.Error
	}
	return err
}

// ask asks JetStream about the stream.
func (f *Feed) ask(ctx context.Context, verb string, question map[string]any, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	m := &nats.Msg{Subject: "$JS.API.STREAM." + verb + "." + f.stream, Data: body}
	reply, err := f.config.Public.RequestMsgWithContext(ctx, m)
	if err != nil {
		return err
	}
	if len(reply.Data) == 0 {
		return errors.New("JetStream gives an empty answer")
	}
	return json.Unmarshal(reply.Data, answer)
}
