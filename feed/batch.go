package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The headers of an atomic batch.
const (
	headerBatch    = "Nats-Batch-Id"
	headerSequence = "Nats-Batch-Sequence"
	headerCommit   = "Nats-Batch-Commit"
	headerExpected = "Nats-Expected-Last-Subject-Sequence"
)

// batchRoom is what these take in a message, at most.
const batchRoom = 192

// A line carries messages to the stream. *[nats.Conn] is one.
type line interface {
	PublishMsg(m *nats.Msg) error
	RequestMsgWithContext(ctx context.Context, m *nats.Msg) (*nats.Msg, error)
}

// publishBatch has a stream take messages all or none, and gives the sequence of the last.
// They are told by an id that is unique to the attempt, and only the last is answered. When
// the error is not one of JetStream they may have been taken all the same, or yet be. It
// writes to the headers.
func publishBatch(ctx context.Context, to line, stream, id string, list []*nats.Msg) (uint64, error) {
	last := len(list) - 1
	for i, m := range list {
		m.Header[headerBatch] = []string{id}
		m.Header[headerSequence] = []string{strconv.Itoa(i + 1)}
		if i == last {
			m.Header[headerCommit] = []string{"1"}
			break
		}
		if err := to.PublishMsg(m); err != nil {
			return 0, fmt.Errorf("publish message %d of %d: %w", i+1, len(list), err)
		}
	}
	answer, err := to.RequestMsgWithContext(ctx, list[last])
	if err != nil {
		return 0, fmt.Errorf("publish %d messages: %w", len(list), err)
	}
	return readAck(answer.Data, stream, len(list))
}

func readAck(data []byte, stream string, count int) (uint64, error) {
	var a struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
		Count  int                 `json:"count"`
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return 0, fmt.Errorf("the answer to a batch cannot be read: %w", err)
	}
	switch {
	case a.Error != nil:
		return 0, a.Error
	case a.Stream != stream || a.Seq < uint64(count) || a.Count != count:
		return 0, fmt.Errorf("stream %q took %d messages up to %d, not stream %s %d", a.Stream, a.Count, a.Seq, stream, count)
	}
	return a.Seq, nil
}
