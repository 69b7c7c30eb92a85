package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// JetStream's codes that the store knows.
const (
	codeNoPeers       = 10005
	codeNotAvailable  = 10008
	codeNoMessage     = 10037
	codeExists        = 10058
	codeConflict      = 10071
	codeDuplicateOpen = 10158
	codeRacing        = 10164
	codeNotEnabled    = 10076
	codeNotForAccount = 10039
)

var (
	errNone = errors.New("there is no such message")
	errOdd  = errors.New("the server's answer cannot be understood")
)

// A stored is a message as it stands in a stream.
type stored struct {
	subject string
	seq     uint64
	body    []byte
	time    time.Time // as the leader has said; a direct answer is not asked for it
}

// A partition names the parts of JetStream's interface that concern one stream.
type partition struct {
	number     uint32
	stream     string
	direct     string // answered by any replica, inline
	leader     string // answered by the stream's leader
	info       string
	replicated bool
	ack        string        // how the acknowledgement of a publish begins
	coalescer  *coalescer    // nil: each append goes out at once, alone
	settled    atomic.Uint64 // the tick from which its last election is over
	last       atomic.Uint64 // the highest that was said to be its last sequence
	newcomers  *newcomers    // of a log
	// appended is the subject of one of the last appends that succeeded, if it is replicated.
	appended atomic.Pointer[string]
}

func newPartition(number uint32, stream string, replicas int) *partition {
	return &partition{
		number:     number,
		stream:     stream,
		direct:     "$JS.API.DIRECT.GET." + stream,
		leader:     "$JS.API.STREAM.MSG.GET." + stream,
		info:       "$JS.API.STREAM.INFO." + stream,
		replicated: replicas > 1,
		ack:        `{"stream":"` + stream + `","seq":`,
	}
}

// directLast asks for the last message of a subject, which any replica may answer with
// an older one than there is.
func (p *partition) directLast(subject string) query {
	return query{subject: p.direct + "." + subject, replicated: p.replicated}
}

// quickLast asks for its body and nothing else.
func (p *partition) quickLast(subject string) query {
	return query{subject: p.direct + "." + subject, body: []byte(`{"no_hdr":true}`), replicated: p.replicated}
}

// directAt asks for the message at a sequence.
func (p *partition) directAt(seq uint64) query {
	return query{subject: p.direct, body: sequenceRequest(seq), replicated: p.replicated}
}

// directFirst asks for the first message of a subject, and how many there are after it. The
// server has both in its index: it scans nothing from where the log begins.
func (p *partition) directFirst(subject string) query {
	return query{subject: p.direct, body: []byte(`{"seq":1,"next_by_subj":"` + subject + `","batch":1}`), span: 1, replicated: p.replicated}
}

// quickAt asks for the body of the message at a sequence and nothing else: to make and to read
// the headers costs more than all the rest. Whose it is, is for the asker to find out.
func (p *partition) quickAt(seq uint64) query {
	body := strconv.AppendUint(append(make([]byte, 0, 44), `{"seq":`...), seq, 10)
	return query{subject: p.direct, body: append(body, `,"no_hdr":true}`...), replicated: p.replicated}
}

// quickSpan asks for those of n messages from a sequence on.
func (p *partition) quickSpan(seq uint64, n int) query {
	body := fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d,"no_hdr":true}`, seq, n, spanBytes)
	return query{subject: p.direct, body: body, span: n, replicated: p.replicated}
}

// anyOf asks whether there is a message at any of the subjects, and for the first of these. That there is none the
// server says from its index, in words.
func (p *partition) anyOf(subjects []string) query {
	body := []byte(`{"multi_last":["` + strings.Join(subjects, `","`) + `"],"batch":1}`)
	return query{subject: p.direct, body: body, span: 1, replicated: p.replicated}
}

func (p *partition) leaderLast(subject string) query {
	return p.askLeader(p.leader, []byte(`{"last_by_subj":"`+subject+`"}`))
}

func (p *partition) leaderAt(seq uint64) query {
	return p.askLeader(p.leader, sequenceRequest(seq))
}

// leaderFrom asks the leader for the first message from a sequence on.
func (p *partition) leaderFrom(seq uint64, filter string) query {
	return p.askLeader(p.leader, fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q}`, seq, filter))
}

func (p *partition) askLeader(subject string, body []byte) query {
	q := query{subject: subject, body: body, replicated: p.replicated}
	if p.replicated {
		q.leads = p
	}
	return q
}

func sequenceRequest(seq uint64) []byte {
	body := make([]byte, 0, 28)
	body = append(body, `{"seq":`...)
	body = strconv.AppendUint(body, seq, 10)
	return append(body, '}')
}

// parseDirect reads the answer to a direct request. The server says errNone for
// whatever keeps it from reading a message, a damaged one too.
func parseDirect(m *nats.Msg) (stored, error) {
	if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
		if status == "404" {
			return stored{}, errNone
		}
		return stored{}, fmt.Errorf("the server answers %s %s", status, m.Header.Get("Description"))
	}
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return stored{}, errOdd
	}
	return stored{subject: m.Header.Get("Nats-Subject"), seq: seq, body: m.Data}, nil
}

// apiError is how JetStream says no.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("JetStream answers %d: %s", e.ErrCode, e.Description)
}

// parseAnswer reads an answer of JetStream's interface into v, which has its error.
func parseAnswer(m *nats.Msg, v any, apiErr func() *apiError) error {
	if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
		return fmt.Errorf("the server answers %s %s", status, m.Header.Get("Description"))
	}
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("%w: %w", errOdd, err)
	}
	if err := apiErr(); err != nil {
		return err
	}
	return nil
}

// parseLeader reads the leader's answer. Like parseDirect it has errNone for a damaged
// message as well.
func parseLeader(m *nats.Msg) (stored, error) {
	var r struct {
		Error   *apiError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	err := parseAnswer(m, &r, func() *apiError { return r.Error })
	var api *apiError
	switch {
	case errors.As(err, &api) && api.ErrCode == codeNoMessage:
		return stored{}, errNone
	case err != nil:
		return stored{}, err
	case r.Message == nil:
		return stored{}, errOdd
	}
	return stored{subject: r.Message.Subject, seq: r.Message.Seq, body: r.Message.Data, time: r.Message.Time}, nil
}

// An aggregate is one with its place in the log.
type aggregate struct {
	ref       holdfast.Ref
	place     messages.Subject
	subject   string // place as text
	partition *partition
}

// first is its head when nothing has happened yet.
func (a aggregate) first() persistence.Head { return persistence.HeadAt(a.place) }

func (s *Store) aggregate(ref holdfast.Ref) (aggregate, error) {
	sub, err := persistence.LogSubject(s.context, ref, uint32(len(s.partitions)))
	if err != nil {
		return aggregate{}, err
	}
	return aggregate{
		ref: ref, place: sub, subject: sub.String(), partition: s.partitions[sub.Partition],
	}, nil
}

// corrupt says that the aggregate's chain does not hold; err may be ErrCorrupt already.
func (a aggregate) corrupt(err error) error { return persistence.Corrupt(a.ref, err) }

func (a aggregate) unavailable(verb string, err error) error {
	return holdfast.Errorf(holdfast.CodeUnavailable, "%s %s: %w", verb, a.ref, err)
}

// open reads a message as a commit of the aggregate.
func (a aggregate) open(m stored) (persistence.Commit, error) {
	c, err := persistence.Open(holdfast.NewPosition(a.partition.number, m.seq), m.body)
	if err == nil && c.Previous >= m.seq { // following it backwards would never end
		err = holdfast.Errorf(holdfast.CodeCorrupt, "commit at %s: it names %d as its previous commit", c.Position, c.Previous)
	}
	if err != nil {
		return c, a.corrupt(err)
	}
	return c, nil
}

// last reads the aggregate's last commit; none when nothing has happened to it.
func (s *Store) last(ctx context.Context, a aggregate) (persistence.Commit, bool, error) {
	p := a.partition
	q := p.directLast(a.subject)
	if p.replicated {
		q = p.leaderLast(a.subject)
	}
	m, err := s.reads.one(ctx, q)
	return s.openLast(ctx, a, m, err)
}

// openLast reads the answer to the question for the last commit. A message that is
// there and cannot be read looks to the server like none, so none is believed only when
// the subject's count says so too.
func (s *Store) openLast(ctx context.Context, a aggregate, m *nats.Msg, err error) (persistence.Commit, bool, error) {
	got, err := a.parse(m, err)
	if errors.Is(err, errNone) {
		var none bool
		if none, err = s.none(ctx, a); err == nil && none {
			return persistence.Commit{}, false, nil
		}
		if err == nil { // there is one, perhaps since this very moment
			m, err = s.reads.one(ctx, a.partition.leaderLast(a.subject))
			if err == nil {
				got, err = parseLeader(m)
			}
		}
	}
	switch {
	case errors.Is(err, errNone):
		return persistence.Commit{}, false, a.corrupt(errors.New("its last commit cannot be read"))
	case err != nil:
		return persistence.Commit{}, false, a.unavailable("read last commit of", err)
	case got.subject != a.subject:
		return persistence.Commit{}, false, a.unavailable("read last commit of", errOdd)
	}
	c, err := a.open(got)
	return c, err == nil, err
}

func (a aggregate) parse(m *nats.Msg, err error) (stored, error) {
	switch {
	case err != nil:
		return stored{}, err
	case a.partition.replicated:
		return parseLeader(m)
	default:
		return parseDirect(m)
	}
}

// none reports whether the index of the log has nothing of the aggregate.
func (s *Store) none(ctx context.Context, a aggregate) (bool, error) {
	if !a.partition.replicated {
		// This is quick, but it is words, so any others lead to the slow answer in numbers.
		switch got := s.reads.hear(ctx, a.partition.anyOf([]string{a.subject})); {
		case got.err != nil:
			return false, got.err
		case noResults(got):
			return true, nil
		}
	}
	n, err := s.count(ctx, a)
	return n == 0, err
}

// count gives the number of messages that the leader's index has of the aggregate.
func (s *Store) count(ctx context.Context, a aggregate) (uint64, error) {
	m, err := s.reads.one(ctx, a.partition.askLeader(a.partition.info, []byte(`{"subjects_filter":"`+a.subject+`"}`)))
	if err != nil {
		return 0, err
	}
	var r struct {
		Error *apiError `json:"error"`
		State *struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := parseAnswer(m, &r, func() *apiError { return r.Error }); err != nil {
		return 0, err
	}
	if r.State == nil {
		return 0, errOdd
	}
	return r.State.Subjects[a.subject], nil
}

// openAt reads the answer to the question for the message at seq, which the commit at
// by names. What a replica does not have is asked of the leader: the replica may lag
// behind, or have lost it.
func (s *Store) openAt(ctx context.Context, a aggregate, seq uint64, by holdfast.Position, m *nats.Msg, err error) (persistence.Commit, error) {
	at := holdfast.NewPosition(a.partition.number, seq)
	var got stored
	if err == nil {
		got, err = parseDirect(m)
	}
	if errors.Is(err, errNone) {
		if m, err = s.reads.one(ctx, a.partition.leaderAt(seq)); err == nil {
			got, err = parseLeader(m)
		}
	}
	switch {
	case errors.Is(err, errNone):
		return persistence.Commit{}, a.corrupt(fmt.Errorf("its commit at %s, named by that at %s, is missing or cannot be read", at, by))
	case err != nil:
		return persistence.Commit{}, a.unavailable("read", err)
	case got.seq != seq:
		return persistence.Commit{}, a.unavailable("read", errOdd)
	case got.subject != a.subject:
		return persistence.Commit{}, a.corrupt(fmt.Errorf("at %s, where the commit at %s says that another is, stands a message of %s", at, by, got.subject))
	}
	return a.open(got)
}

// at reads the aggregate's commit at a sequence, which c names.
func (s *Store) at(ctx context.Context, a aggregate, seq uint64, c persistence.Commit) (persistence.Commit, error) {
	m, err := s.reads.one(ctx, a.partition.directAt(seq))
	return s.openAt(ctx, a, seq, c.Position, m, err)
}
