package kvsink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
)

// A line carries messages to the server.
type line interface {
	publish(m *nats.Msg) error
	request(ctx context.Context, m *nats.Msg) (*nats.Msg, error)
}

type connection struct{ conn *nats.Conn }

func (c connection) publish(m *nats.Msg) error { return c.conn.PublishMsg(m) }

func (c connection) request(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	return c.conn.RequestMsgWithContext(ctx, m)
}

const (
	// patience is how long an answer may take: one that a server owes which has gone never
	// comes.
	patience = 3 * time.Second
	// pause is how long to wait before something is tried again, and turn, before another unit
	// has changed what it is about to.
	pause = 50 * time.Millisecond
	turn  = 2 * time.Millisecond
)

// Of JetStream's codes, which the interface of nats.go does not name.
const (
	codeNoPeers          = 10005
	codeNoMessage        = 10037
	codeNoStream         = 10059
	codeWrongSequence    = 10071
	codeSequenceInFlight = 10164
	codeBatchIncomplete  = 10176
)

// apiError is what JetStream answers that is none of a message.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// passing reports whether an error may be over in a moment: servers elect a leader, or are
// busy, or one has gone with the answer.
func passing(err error) bool {
	if api, ok := errors.AsType[*apiError](err); ok {
		return api.Code == http.StatusServiceUnavailable || api.Code == http.StatusTooManyRequests || api.ErrCode == codeBatchIncomplete ||
			api.ErrCode == codeNoPeers // which comes with 400
	}
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}

// conflict reports whether somebody else has changed what was to be changed.
func conflict(err error) bool {
	api, ok := errors.AsType[*apiError](err)
	return ok && (api.ErrCode == codeWrongSequence || api.ErrCode == codeSequenceInFlight)
}

func isCode(err error, code int) bool {
	api, ok := errors.AsType[*apiError](err)
	return ok && api.ErrCode == code
}

// ask sends a request once, and reads the answer into out, in which its error is told.
func (s *Sink) ask(ctx context.Context, m *nats.Msg, out any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply, err := s.line.request(ctx, m)
	if err != nil {
		return err
	}
	if bytes.Contains(reply.Data, []byte(`"error":`)) {
		var failed struct {
			Error *apiError `json:"error"`
		}
		if err := json.Unmarshal(reply.Data, &failed); err == nil && failed.Error != nil {
			return failed.Error
		}
	}
	if err := json.Unmarshal(reply.Data, out); err != nil {
		return fmt.Errorf("JetStream answered %.200q: %w", reply.Data, err)
	}
	return nil
}

// call asks until it is answered, or ctx ends, what may be asked many times.
func (s *Sink) call(ctx context.Context, subject string, body, out any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	for {
		err := s.ask(ctx, &nats.Msg{Subject: subject, Data: text}, out)
		if err == nil || ctx.Err() == nil && !passing(err) {
			return err
		}
		if err := rest(ctx, pause, err); err != nil {
			return err
		}
	}
}

// patiently does what is asked of nats.go, again while that may be over in a moment, until ctx
// ends. An answer that never comes is not waited for for as long.
func patiently(ctx context.Context, do func(ctx context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, patience)
		err := do(try)
		cancel()
		if err == nil || !starting(err) {
			return err
		}
		if err := rest(ctx, pause, err); err != nil {
			return err
		}
	}
}

// rest waits; its error is the one that was waited for, when ctx ends.
func rest(ctx context.Context, long time.Duration, because error) error {
	t := time.NewTimer(long)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return because
	}
	return nil
}

// A stored message of a stream.
type stored struct {
	Subject string `json:"subject"`
	Seq     uint64 `json:"seq"`
	Header  []byte `json:"hdrs"`
	Data    []byte `json:"data"`
}

// get asks the stream's leader, who alone has heard of all that was acknowledged; nil when
// there is no such message.
func (s *Sink) get(ctx context.Context, n names, query map[string]any) (*stored, error) {
	var reply struct {
		Message *stored `json:"message"`
	}
	err := s.call(ctx, "$JS.API.STREAM.MSG.GET."+n.stream, query, &reply)
	switch {
	case isCode(err, codeNoMessage):
		return nil, nil
	case err != nil:
		return nil, n.unavailable("read", err)
	case reply.Message == nil:
		return nil, n.unavailable("read", errors.New("the answer holds no message"))
	}
	return reply.Message, nil
}

func (s *Sink) last(ctx context.Context, n names, subject string) (*stored, error) {
	return s.get(ctx, n, map[string]any{"last_by_subj": subject})
}

// unavailable says that the bucket cannot be reached, or is not there.
func (n names) unavailable(verb string, err error) error {
	if isCode(err, codeNoStream) {
		return holdfast.Errorf(holdfast.CodeUnavailable, "%s: there is no bucket %s: prepare the generation", verb, n.bucket)
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "%s the bucket %s: %w", verb, n.bucket, err)
}
