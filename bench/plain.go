package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast/messages"
)

const (
	plainStream   = "PLAIN_LOG_0"
	plainSubjects = "plain.log.0." // as long as those of the log
	// patience is how long the raw sides wait for an answer.
	patience = 10 * time.Second

	headerExpected = "Nats-Expected-Last-Subject-Sequence"
)

// A plain is a stream beside the log, with the same settings, and where each of its subjects
// is: what a careful client without Holdfast would write to.
type plain struct {
	stream  natsjs.Stream
	conns   []*nats.Conn // a publisher each
	payload []byte
	acked   atomic.Int64

	mu    sync.Mutex
	lasts map[string]*subject
}

// A subject is where one is. It is locked while a publish to it is under way, since the next
// needs its sequence.
type subject struct {
	sync.Mutex
	name string
	last uint64
}

// newPlain makes the stream, with the leader where that of the log is.
func newPlain(ctx context.Context, s *stage, size, publishers int) (*plain, error) {
	p := &plain{payload: make([]byte, size), lasts: map[string]*subject{}}
	var err error
	if p.conns, err = s.dials(0, publishers); err != nil {
		return nil, err
	}
	js, err := natsjs.New(p.conns[0])
	if err != nil {
		return nil, err
	}
	log, err := patiently(ctx, func() (natsjs.Stream, error) { return js.Stream(ctx, contextName.LogStream(0)) })
	if err != nil {
		return nil, fmt.Errorf("look at the log: %w", err)
	}
	config := log.CachedInfo().Config
	config.Name, config.Subjects = plainStream, []string{plainSubjects + ">"}
	if p.stream, err = patiently(ctx, func() (natsjs.Stream, error) { return js.CreateStream(ctx, config) }); err != nil {
		return nil, fmt.Errorf("make a stream beside the log: %w", err)
	}
	if s.mode.servers > 1 {
		if err := lead(ctx, js, p.stream, func() (string, error) { return leader(ctx, log) }); err != nil {
			return nil, fmt.Errorf("have the stream beside the log led where that is: %w", err)
		}
	}
	return p, p.publishSync(js, p.subjectOf("settled"))
}

// patiently asks again for some seconds: servers that have just started, or elect, refuse.
func patiently[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	for end := time.Now().Add(patience); ; {
		got, err := ask()
		if err == nil || ended(ctx) || time.Now().After(end) {
			return got, err
		}
		<-time.After(breath)
	}
}

// settled is how long a stream is left alone after its leader was asked to step down.
const settled = time.Second

// lead has a stream led by the server that wanted names, which is none as long as that is not
// known. The raw stream is led where the log is: two servers would share the work that the log
// has one do.
func lead(ctx context.Context, js natsjs.JetStream, stream natsjs.Stream, wanted func() (string, error)) error {
	tick := time.NewTicker(settled / 20)
	defer tick.Stop()
	var asked time.Time
	for {
		want, err := wanted()
		if err != nil {
			return err
		}
		is, err := leader(ctx, stream)
		if err != nil || is == want && is != "" {
			return err
		}
		if is != "" && want != "" && time.Since(asked) > settled {
			request := fmt.Appendf(nil, `{"placement":{"preferred":%q}}`, want)
			// Whether it was heard is seen above.
			if _, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream.CachedInfo().Config.Name, request); err != nil {
				return err
			}
			asked = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leader gives the name of the server that leads a stream, or none as long as some of its
// replicas are behind: only one that is not can take over.
func leader(ctx context.Context, s natsjs.Stream) (string, error) {
	info, err := s.Info(ctx)
	if err != nil {
		return "", err
	}
	if info.Cluster == nil || slices.ContainsFunc(info.Cluster.Replicas, func(r *natsjs.PeerInfo) bool { return !r.Current }) {
		return "", nil
	}
	return info.Cluster.Leader, nil
}

// subjectOf gives the one that stands for an aggregate, always the same.
func (p *plain) subjectOf(id string) *subject {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.lasts[id]
	if s == nil {
		s = fresh(id)
		p.lasts[id] = s
	}
	return s
}

// fresh gives a subject to which nothing has been published.
func fresh(id string) *subject { return &subject{name: plainSubjects + "account." + id} }

// subjects picks what stands for the aggregates that pick does.
func subjects(pick picker[string], of func(id string) *subject) picker[*subject] {
	return func(dice *rand.Rand) func() *subject {
		next := pick(dice)
		return func() *subject { return of(next()) }
	}
}

// verify finds as many messages in the stream as were acknowledged.
func (p *plain) verify(ctx context.Context) error {
	info, err := p.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the stream beside the log: %w", err)
	}
	if acked := p.acked.Load(); uint64(acked) != info.State.Msgs {
		return fmt.Errorf("the stream beside the log has %d messages, and %d were acknowledged", info.State.Msgs, acked)
	}
	return nil
}

// message gives one as an append has it: with its id and what is expected.
func (p *plain) message(s *subject) *nats.Msg {
	return &nats.Msg{
		Subject: s.name, Data: p.payload,
		Header: nats.Header{messages.HeaderID: {nuid.Next()}, headerExpected: {strconv.FormatUint(s.last, 10)}},
	}
}

// sequence reads the answer to a publish.
func sequence(m *nats.Msg) (uint64, error) {
	const head = `{"stream":"` + plainStream + `","seq":`
	if digits, ok := strings.CutPrefix(string(m.Data), head); ok {
		if n, err := strconv.ParseUint(strings.TrimSuffix(digits, "}"), 10, 64); err == nil {
			return n, nil
		}
	}
	var r struct {
		Error *struct{ Description string }
		Seq   uint64
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return 0, fmt.Errorf("the server answers %q: %w", m.Data, err)
	}
	if r.Error != nil {
		return 0, errors.New("the server refuses a publish: " + r.Error.Description)
	}
	return r.Seq, nil
}
