package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
)

// A stub answers as a node does, on a real NATS server, and misbehaves when told to.
type stub struct {
	t      *testing.T
	server *natsd.Server
	conn   *nats.Conn
	subs   []*nats.Subscription
	log    string // its name

	mu       sync.Mutex
	accounts map[string]*account
	commands int // that have come in
	remember int // how many ids an account remembers
	// fault is asked about every command, with its number from 1.
	fault func(n int, m *nats.Msg) fault
}

// A fault is what goes wrong with a command.
type fault struct {
	status   int    // answered instead
	code     string // of the answer
	body     string // answered instead
	silent   bool   // not answered
	executed bool   // executed nevertheless
	after    func() // called when the rest is done
}

type account struct {
	Open    bool   `json:"open"`
	Owner   string `json:"owner"`
	Balance int64  `json:"balance"`

	history []recorded
	ids     []string
	replies map[string]string
}

type recorded struct {
	Version       int             `json:"version"`
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	Time          string          `json:"time"`
	User          string          `json:"user"`
	Command       string          `json:"command"`
	CommandID     string          `json:"commandId"`
	CorrelationID string          `json:"correlationId"`
	CausationID   string          `json:"causationId"`
	Data          json.RawMessage `json:"data"`
}

// newStub starts a server without anybody who serves it; serve starts the rest.
func newStub(t *testing.T) *stub {
	t.Helper()
	server, err := natsd.Start(t.Context(), natsd.Config{
		DataDir: t.TempDir(), Listen: "127.0.0.1:0", Context: "demo", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	conn, err := server.Connect(natsd.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	log := "20260314T092653.589793238Z"
	return &stub{t: t, server: server, log: log, conn: conn, accounts: map[string]*account{}, remember: 1024}
}

func startStub(t *testing.T) *stub {
	t.Helper()
	s := newStub(t)
	s.serve()
	return s
}

func (s *stub) serve() {
	for _, kind := range []messages.Kind{messages.KindCommand, messages.KindGet, messages.KindHistory} {
		sub, err := s.conn.Subscribe("demo."+string(kind)+".>", s.receive)
		if err != nil {
			s.t.Fatal(err)
		}
		s.subs = append(s.subs, sub)
	}
	s.answerAll("$SRV.INFO.holdfast-demo", fmt.Sprintf(`{"name":"holdfast-demo","metadata":{"log":%q}}`, s.log))
	if err := s.conn.Flush(); err != nil {
		s.t.Fatal(err)
	}
}

// restart stops the server and starts it again, at the same address unless changed.
func (s *stub) restart(change ...func(*natsd.Config)) {
	s.t.Helper()
	s.conn.Close()
	s.server.Stop()
	cfg := s.server.Config()
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if s.server, err = natsd.Start(s.t.Context(), cfg); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.server.Stop)
	if s.conn, err = s.server.Connect(natsd.Gateway); err != nil {
		s.t.Fatal(err)
	}
	s.serve()
}

// begin gives the stub another log, which is empty.
func (s *stub) begin(log string) {
	s.mu.Lock()
	s.log, s.accounts = log, map[string]*account{}
	s.mu.Unlock()
	s.restart()
}

func (s *stub) onCommand(f func(n int, m *nats.Msg) fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// count is how many commands have come in.
func (s *stub) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commands
}

// account gives an account, nil if there is none.
func (s *stub) account(ref string) *account { return s.all()[ref] }

func (s *stub) all() map[string]*account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.accounts)
}

func (s *stub) receive(m *nats.Msg) {
	reply, after := s.answer(m)
	if reply != nil {
		if err := m.RespondMsg(reply); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			s.t.Errorf("respond: %v", err)
		}
	}
	if after != nil {
		if err := s.conn.Flush(); err != nil {
			s.t.Errorf("flush: %v", err)
		}
		after()
	}
}

func (s *stub) answer(m *nats.Msg) (reply *nats.Msg, after func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	subject, err := messages.ParseSubject(m.Subject)
	if err != nil {
		return refuse(400, "malformed", err.Error()), nil
	}
	header, err := messages.ParseRequestHeader(subject.Kind, m.Header)
	if err != nil {
		return refuse(400, "malformed", err.Error()), nil
	}
	if subject.Kind != messages.KindCommand {
		return s.read(subject, header, m.Data), nil
	}
	s.commands++
	var f fault
	if s.fault != nil {
		f = s.fault(s.commands, m)
	}
	if f.status == 0 && f.body == "" && !f.silent || f.executed {
		reply = s.execute(subject, header, m.Data)
	}
	switch {
	case f.silent:
		reply = nil
	case f.body != "":
		reply = &nats.Msg{Data: []byte(f.body)}
	case f.status != 0:
		reply = refuse(f.status, f.code, "as the test wants it")
	}
	return reply, f.after
}

func (s *stub) execute(subject messages.Subject, header messages.RequestHeader, body []byte) *nats.Msg {
	ref := messages.FormatRef(subject.Type, subject.ID)
	a := s.accounts[ref]
	if a == nil {
		a = &account{replies: map[string]string{}}
	}
	if slices.Contains(a.ids[max(0, len(a.ids)-s.remember):], header.ID) {
		return &nats.Msg{Data: []byte(a.replies[header.ID])}
	}
	if v := header.ExpectedVersion; v != nil && *v != uint64(len(a.history)) {
		return refuse(409, "conflict", fmt.Sprintf("%s is at version %d, not at %d", ref, len(a.history), *v))
	}
	event, refusal := a.decide(subject.Name, body)
	if refusal != nil {
		return refusal
	}
	s.accounts[ref] = a
	events := []string{}
	if event != "" {
		events = append(events, "bank.v1."+event)
		a.record(ref, events[0], subject.Name, header, body)
	}
	receipt := map[string]any{
		"ref": ref, "version": len(a.history), "position": "0-" + strconv.Itoa(len(a.history)), "events": events, "duplicate": false,
	}
	reply, _ := json.Marshal(receipt)
	if event != "" {
		receipt["duplicate"] = true
		again, _ := json.Marshal(receipt)
		a.ids, a.replies[header.ID] = append(a.ids, header.ID), string(again)
	}
	return &nats.Msg{Data: reply}
}

func (a *account) decide(name string, body []byte) (event string, refusal *nats.Msg) {
	var data struct {
		Owner  string
		Amount int64
	}
	if err := json.Unmarshal(body, &data); err != nil {
		return "", refuse(400, "malformed", "body: "+err.Error())
	}
	switch name {
	case "OpenAccount":
		if a.Open {
			return "", refuse(422, "already_open", "the account is open already")
		}
		a.Open, a.Owner = true, data.Owner
		return "AccountOpened", nil
	case "Deposit":
		a.Balance += data.Amount
		return "Deposited", nil
	case "Withdraw":
		if a.Balance < data.Amount {
			return "", refuse(422, "insufficient_funds", fmt.Sprintf("the balance is %d", a.Balance))
		}
		a.Balance -= data.Amount
		return "Withdrawn", nil
	case "Rename":
		if a.Owner == data.Owner {
			return "", nil
		}
		a.Owner = data.Owner
		return "Renamed", nil
	}
	return "", refuse(404, "unknown", "type account knows no command "+name)
}

func stubTime(version int) string {
	return time.Date(2026, 3, 14, 9, 26, 53, 589793238, time.UTC).Add(time.Duration(version) * time.Minute).Format(time.RFC3339Nano)
}

func (a *account) record(ref, event, command string, h messages.RequestHeader, body []byte) {
	n := len(a.history) + 1
	a.history = append(a.history, recorded{
		Version: n, ID: ref + "@" + strconv.Itoa(n), Type: event, Time: stubTime(n), User: h.User, Command: "bank.v1." + command,
		CommandID: h.ID, CorrelationID: h.CorrelationID, CausationID: h.CausationID, Data: body,
	})
}

func (s *stub) read(subject messages.Subject, header messages.RequestHeader, body []byte) *nats.Msg {
	ref := messages.FormatRef(subject.Type, subject.ID)
	a := s.accounts[ref]
	if a == nil {
		return refuse(404, "unknown", "nothing has happened to "+ref)
	}
	if subject.Kind == messages.KindHistory {
		return a.page(ref, body)
	}
	v := len(a.history)
	shown := map[string]any{"ref": ref, "version": v, "position": "0-" + strconv.Itoa(v), "time": stubTime(v), "state": a}
	// The stub has no past: it shows what it was asked for.
	if header.AsOf != nil {
		shown["state"] = map[string]string{"asOf": header.AsOf.Format(time.RFC3339Nano)}
	}
	if header.AsOfVersion != nil {
		shown["state"] = map[string]uint64{"asOfVersion": *header.AsOfVersion}
	}
	reply, _ := json.Marshal(shown)
	return &nats.Msg{Data: reply}
}

func (a *account) page(ref string, body []byte) *nats.Msg {
	var want struct{ From, Limit int }
	if err := json.Unmarshal(body, &want); err != nil || want.Limit < 1 || want.Limit > 1000 || want.From < 1 {
		return refuse(400, "malformed", fmt.Sprintf("body: %s", body))
	}
	first := min(want.From-1, len(a.history))
	last := min(first+want.Limit, len(a.history))
	page := map[string]any{"ref": ref, "events": a.history[first:last], "next": 0}
	if last < len(a.history) {
		page["next"] = last + 1
	}
	reply, _ := json.Marshal(page)
	return &nats.Msg{Data: reply}
}

func refuse(status int, code, message string) *nats.Msg {
	body, _ := json.Marshal(map[string]any{"error": map[string]string{"code": code, "message": message}})
	return &nats.Msg{Data: body, Header: nats.Header{
		micro.ErrorCodeHeader: {strconv.Itoa(status)}, micro.ErrorHeader: {message},
	}}
}

// answerAll answers whatever comes with one body.
func (s *stub) answerAll(subject, body string) {
	_, err := s.conn.Subscribe(subject, func(m *nats.Msg) {
		if err := m.Respond([]byte(body)); err != nil {
			s.t.Errorf("respond: %v", err)
		}
	})
	if err == nil {
		err = s.conn.Flush()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}
