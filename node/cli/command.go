package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-run/holdfast/messages"
)

// maxData is the most that a server can be set to take.
const maxData = 8 << 20

// A command is what send and apply send.
type command struct {
	typ      string
	id       messages.ID
	name     string
	data     []byte // a JSON object
	meta     commandMeta
	expected *uint64
}

// commandMeta is what stands beside a command; empty = not said.
type commandMeta struct {
	id, user, correlation, causation string
}

func (c *command) ref() string { return messages.FormatRef(c.typ, c.id) }

// A saying is one header: which flag or key it comes from, and its value.
type saying struct{ from, header, value string }

func (c *command) sayings() []saying {
	all := []saying{
		{"id", messages.HeaderID, c.meta.id},
		{"user", messages.HeaderUser, c.meta.user},
		{"correlation", messages.HeaderCorrelationID, c.meta.correlation},
		{"causation", messages.HeaderCausationID, c.meta.causation},
	}
	said := all[:0]
	for _, s := range all {
		if s.value != "" {
			said = append(said, s)
		}
	}
	if c.expected != nil {
		said = append(said, saying{"expect", messages.HeaderExpectedVersion, strconv.FormatUint(*c.expected, 10)})
	}
	return said
}

// check says what is wrong with the command, whose data is JSON; prefix is put before the name of what is
// wrong, "--" for flags.
func (c *command) check(prefix string) error {
	if _, err := messages.ParseName(c.name); err != nil {
		return err
	}
	for _, s := range c.sayings() {
		if _, err := messages.ParseRequestHeader(messages.KindCommand, map[string][]string{s.header: {s.value}}); err != nil {
			return fmt.Errorf("%s%s: %w", prefix, s.from, err)
		}
	}
	if !startsObject(c.data) {
		return fmt.Errorf("data: %w", errNoObject)
	}
	return nil
}

var errNoObject = errors.New(`want one JSON object, such as {"amount":100}`)

func startsObject(data []byte) bool {
	return strings.HasPrefix(strings.TrimLeft(string(data[:min(len(data), 64)]), " \t\r\n"), "{")
}

// checkData says what is wrong with data that nobody has parsed yet.
func checkData(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("data: it is not UTF-8")
	}
	if !json.Valid(data) {
		return fmt.Errorf("data: %w", errNoObject)
	}
	return nil
}

// An acceptance is the answer to a command that was accepted, as send prints it.
type acceptance struct {
	Ref       string   `json:"ref"`
	ID        string   `json:"id"`
	Version   uint64   `json:"version"`
	Position  string   `json:"position"`
	Events    []string `json:"events"`
	Duplicate bool     `json:"duplicate"`
	// Attempts is how often the command was sent until it was answered.
	Attempts int `json:"attempts"`
}

// send sends the command until it is answered for good; the error is a *callError
// that names the aggregate and the command.
func (c *client) send(ctx context.Context, cmd *command, retrying func(time.Duration, *callError)) (acceptance, error) {
	header := map[string][]string{}
	for _, s := range cmd.sayings() {
		header[s.header] = []string{s.value}
	}
	body, attempts, err := c.call(ctx, request{
		subject:  messages.Subject{Context: c.context, Kind: messages.KindCommand, Type: cmd.typ, ID: cmd.id, Name: cmd.name}.String(),
		header:   header,
		body:     cmd.data,
		grace:    answerGrace,
		retrying: retrying,
	})
	a := acceptance{Ref: cmd.ref(), ID: cmd.meta.id, Attempts: attempts}
	if err == nil {
		err = decodeAnswer(body, &a)
	}
	if err != nil {
		return a, about(err, cmd.ref(), cmd.meta.id)
	}
	if a.Events == nil {
		a.Events = []string{}
	}
	return a, nil
}

// decodeAnswer reads a node's answer. One that cannot be read leaves it open what has
// been executed.
func decodeAnswer(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return &callError{
			Status: statusInternal, Code: "unreadable", Uncertain: true, cause: err,
			Message: fmt.Sprintf("the node's answer cannot be read, do its release and this one fit together? %v", err),
		}
	}
	return nil
}

func about(err error, ref, id string) error {
	if call, ok := errors.AsType[*callError](err); ok {
		call.Ref, call.ID = ref, id
	}
	return err
}
