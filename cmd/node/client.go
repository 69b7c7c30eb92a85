package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A client is what any NATS client would be: it knows the subjects and headers of the
// wire, and nothing else. What is not answered, or not for good, it sends again with the
// same id, to another node if there is one.
type client struct {
	mu   sync.Mutex
	conn *nats.Conn
}

const (
	retryFor   = 30 * time.Second
	retryEvery = 50 * time.Millisecond
)

// connect connects to one of the servers, which have commas between them, and to another
// one when that is lost.
func (c *client) connect(urls string) error {
	conn, err := nats.Connect(urls, nats.Name("demo"), nats.MaxReconnects(-1), nats.ReconnectWait(retryEvery), nats.ReconnectBufSize(-1))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", urls, err)
	}
	c.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	return nil
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
	}
}

func (c *client) current() *nats.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// A line is one of the story's file.
type line struct {
	Ref, Command, ID, User, Note string
	Data                         json.RawMessage
}

func parseStory(story string) ([]line, error) {
	var lines []line
	for text := range strings.Lines(story) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			return nil, fmt.Errorf("line %d of the story: %w", len(lines)+1, err)
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// An answer is what became of a command.
type answer struct {
	Version   uint64
	Position  string
	Events    []string
	Duplicate bool
	Error     *struct{ Code, Message string }
}

func (a answer) String() string {
	if a.Error != nil {
		return fmt.Sprintf("✗ rejected: %s, %s", a.Error.Code, a.Error.Message)
	}
	names := make([]string, len(a.Events))
	for i, e := range a.Events {
		names[i] = short(e)
	}
	s := fmt.Sprintf("✓ %s, version %d", strings.Join(names, ", "), a.Version)
	if a.Duplicate {
		return strings.Replace(s, "✓", "↻ the first answer again:", 1)
	}
	return s
}

// send sends a command until it is accepted or rejected.
func (c *client) send(ctx context.Context, l line) (answer, error) {
	m := message("cmd", l.Ref)
	m.Subject += "." + l.Command
	m.Data = l.Data
	m.Header.Set("Nats-Msg-Id", l.ID)
	m.Header.Set("Holdfast-User", l.User)
	var a answer
	status, err := c.request(ctx, m, &a)
	if err == nil && status != 0 && status != 422 {
		err = fmt.Errorf("%s of %s: %d %s: %s", l.Command, l.Ref, status, a.Error.Code, a.Error.Message)
	}
	return a, err
}

type event struct {
	Version                        uint64
	Time                           time.Time
	Type, User, Command, CommandID string
}

func (c *client) history(ctx context.Context, ref string) ([]event, error) {
	var page struct{ Events []event }
	status, err := c.request(ctx, message("history", ref), &page)
	if err == nil && status != 0 {
		err = fmt.Errorf("history of %s: status %d", ref, status)
	}
	return page.Events, err
}

// get gives the state, as of a version or, with 0, now.
func (c *client) get(ctx context.Context, ref string, at uint64) (map[string]any, error) {
	m := message("get", ref)
	if at != 0 {
		m.Header.Set("Holdfast-As-Of-Version", strconv.FormatUint(at, 10))
	}
	var view struct{ State map[string]any }
	status, err := c.request(ctx, m, &view)
	if err == nil && status != 0 {
		err = fmt.Errorf("get %s: status %d", ref, status)
	}
	return view.State, err
}

func message(kind, ref string) *nats.Msg {
	return nats.NewMsg("demo." + kind + "." + strings.Replace(ref, "/", ".", 1))
}

// request asks until there is an answer that is not "try again", and gives its status,
// which is 0 on success.
func (c *client) request(ctx context.Context, m *nats.Msg, into any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, retryFor)
	defer cancel()
	for {
		status, err := c.once(ctx, m, into)
		if err == nil && status != 429 && status != 503 && status != 504 {
			return status, nil
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return status, errors.Join(fmt.Errorf("%s: no answer", m.Subject), err)
		}
	}
}

func (c *client) once(ctx context.Context, m *nats.Msg, into any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	reply, err := c.current().RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, err
	}
	status, _ := strconv.Atoi(reply.Header.Get("Nats-Service-Error-Code"))
	return status, json.Unmarshal(reply.Data, into)
}
