package timers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// lanes is how many publishes are under way at a time. A server takes 50 open batches
	// of a stream, from all nodes.
	lanes = 4
	// With so many waiting, a batch costs less than one after the other: on a single
	// server it has four fsyncs, and makes and deletes a folder.
	worthABatch = 32
	// maxBatch is how many timers go in one batch at most. A server takes 1,000.
	maxBatch = 256
)

// The headers of an atomic batch.
const (
	headerBatch    = "Nats-Batch-Id"
	headerSequence = "Nats-Batch-Sequence"
	headerCommit   = "Nats-Batch-Commit"
)

// A setter publishes schedules: few at a time each for itself, many as atomic batches,
// which a single server fsyncs as one. Its goroutines end when nothing waits.
type setter struct {
	conn    *nats.Conn
	stream  string
	newID   func() string
	missing func(context.Context) error

	mu    sync.Mutex
	fresh []*request
	alone []*request // those whose batch was refused
	lanes int
}

// A request is one schedule that waits for its answer.
type request struct {
	m      *nats.Msg
	answer chan *refusal // has room for it
	taken  bool          // it may be on its way
	gone   bool          // nobody waits for the answer
}

// A refusal says why a schedule was not stored.
type refusal struct {
	err     error
	code    jetstream.ErrorCode // of JetStream, if it said so
	perhaps bool                // it may have been, all the same
	final   bool                // sending it again would not help
}

// send publishes a schedule, once, and gives nil when it is stored, or another one with
// its key is.
func (s *setter) send(ctx context.Context, m *nats.Msg) *refusal {
	if ctx.Err() != nil {
		return &refusal{err: errors.New("it was not sent")}
	}
	r := &request{m: m, answer: make(chan *refusal, 1)}
	s.mu.Lock()
	s.fresh = append(s.fresh, r)
	s.start(1)
	s.mu.Unlock()
	select {
	case no := <-r.answer:
		return no
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case no := <-r.answer:
		return no
	default:
	}
	r.gone = true
	if r.taken {
		return &refusal{err: errors.New("no answer in time"), perhaps: true}
	}
	return &refusal{err: errors.New("it was not sent in time")}
}

// start adds so many lanes, if there may be more.
func (s *setter) start(n int) {
	for range min(n, lanes-s.lanes) {
		s.lanes++
		go s.lane()
	}
}

// lane publishes what waits until nothing does.
func (s *setter) lane() {
	for {
		switch batch := s.take(); len(batch) {
		case 0:
			return
		case 1:
			batch[0].answer <- s.publish(batch[0].m)
		default:
			s.publishBatch(batch)
		}
	}
}

// take gives what one lane is to publish next. When it gives nothing, the lane has ended.
func (s *setter) take() []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.alone)+len(s.fresh) > 0 {
		from, most := &s.fresh, 1
		switch {
		case len(s.alone) > 0:
			from = &s.alone
		case len(s.fresh) >= worthABatch:
			most = maxBatch
		}
		var batch []*request
		for len(batch) < most && len(*from) > 0 {
			r := (*from)[0]
			(*from)[0], *from = nil, (*from)[1:]
			if !r.gone {
				r.taken = true
				batch = append(batch, r)
			}
		}
		if len(batch) > 0 {
			return batch
		}
	}
	s.lanes--
	return nil
}

// publish publishes one schedule for itself.
func (s *setter) publish(m *nats.Msg) *refusal {
	no := s.request(m, 0)
	if no != nil && no.code == jetstream.JSErrCodeStreamWrongLastSequence {
		return nil // one is pending
	}
	return no
}

// publishBatch publishes schedules all or none, and if the server wants none, each for
// itself: perhaps one of them is pending.
func (s *setter) publishBatch(batch []*request) {
	id, last := s.newID(), len(batch)-1
	var no *refusal
	for i, r := range batch {
		// A copy, since it may be published again without.
		m := &nats.Msg{Subject: r.m.Subject, Data: r.m.Data, Header: nats.Header{headerBatch: {id}, headerSequence: {strconv.Itoa(i + 1)}}}
		maps.Copy(m.Header, r.m.Header)
		if i == last {
			m.Header[headerCommit] = []string{"1"}
			no = s.request(m, len(batch))
		} else if err := s.conn.PublishMsg(m); err != nil {
			no = &refusal{err: err, final: s.conn.IsClosed()}
			break
		}
	}
	if no != nil && no.code != 0 && !passing(no.err) {
		s.mu.Lock()
		s.alone = append(s.alone, batch...)
		s.start(lanes)
		s.mu.Unlock()
		return
	}
	for _, r := range batch {
		r.answer <- no
	}
}

// request publishes what is answered, and gives nil if it is stored, of a batch all of it.
func (s *setter) request(m *nats.Msg, batch int) *refusal {
	if s.conn.IsClosed() {
		return &refusal{err: nats.ErrConnectionClosed, final: true}
	}
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	answer, err := s.conn.RequestMsgWithContext(ctx, m)
	if err == nil {
		err = s.read(answer, batch)
	}
	api, refused := errors.AsType[*jetstream.APIError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrNoResponders):
		if gone := s.missing(ctx); gone != nil {
			return &refusal{err: gone, final: true}
		}
		return &refusal{err: errNoStream}
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return &refusal{err: err}
	case refused:
		again := passing(err) || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
		return &refusal{err: err, code: api.ErrorCode, final: !again, perhaps: api.Code >= 500 && !slices.Contains(beforehand, api.ErrorCode)}
	}
	return &refusal{err: err, perhaps: true, final: s.conn.IsClosed()}
}

// beforehand are the codes of a server that is at fault and has not begun to store a
// message: JetStream is not ready, has no room, or is not there.
var beforehand = []jetstream.ErrorCode{10008, 10023, jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount}

var errNoStream = errors.New("no stream takes it: it has no leader")

// read reads the server's answer to a publish.
func (s *setter) read(answer *nats.Msg, batch int) error {
	var a struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
		Count  int                 `json:"count"`
	}
	if err := json.Unmarshal(answer.Data, &a); err != nil {
		return fmt.Errorf("the answer to a publish cannot be read: %w", err)
	}
	switch {
	case a.Error != nil:
		return a.Error
	case a.Stream != s.stream || a.Seq == 0 || a.Count != batch:
		return fmt.Errorf("stream %q took %d messages at %d, not stream %s %d", a.Stream, a.Count, a.Seq, s.stream, batch)
	}
	return nil
}
