package inbox

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// A command is one that was accepted. Its lane is its aggregate, as <type>.<encoded id>, which
// is also its key in the bucket of what is parked.
type command struct {
	subject  messages.Subject
	meta     holdfast.Meta
	expected *uint64
	body     []byte // in protobuf
	sequence uint64 // 0 when it is not stored yet
}

func (c *command) ref() holdfast.Ref {
	return holdfast.Ref{Type: c.subject.Type, ID: c.subject.ID.Raw()}
}

func (c *command) lane() string { return laneOf(c.subject) }

// name of the aggregate, for people and machines.
func (c *command) name() string { return messages.FormatRef(c.subject.Type, c.subject.ID) }

func laneOf(s messages.Subject) string { return s.Type + "." + s.ID.String() }

// message is how it is stored. Its id is for JetStream's window only, and tells the same id of
// two aggregates apart.
func (c *command) message() *nats.Msg {
	h := nats.Header{
		messages.HeaderID:        {c.name() + " " + c.meta.ID},
		messages.HeaderCommandID: {c.meta.ID},
		messages.HeaderTime:      {c.meta.At.UTC().Format(time.RFC3339Nano)},
	}
	for name, value := range map[string]string{
		messages.HeaderCorrelationID: c.meta.CorrelationID, messages.HeaderCausationID: c.meta.CausationID,
		messages.HeaderUser: c.meta.User, messages.HeaderTrace: c.meta.Trace,
	} {
		if value != "" {
			h.Set(name, value)
		}
	}
	if c.expected != nil {
		h.Set(messages.HeaderExpectedVersion, strconv.FormatUint(*c.expected, 10))
	}
	return &nats.Msg{Subject: c.subject.String(), Header: h, Data: c.body}
}

// readCommand reads what message gave.
func readCommand(subject string, h nats.Header, body []byte, sequence uint64) (*command, error) {
	s, err := messages.ParseSubject(subject)
	if err != nil {
		return nil, err
	}
	c := &command{subject: s, body: body, sequence: sequence, meta: holdfast.Meta{
		ID: h.Get(messages.HeaderCommandID), CorrelationID: h.Get(messages.HeaderCorrelationID), CausationID: h.Get(messages.HeaderCausationID),
		User: h.Get(messages.HeaderUser), Trace: h.Get(messages.HeaderTrace),
	}}
	if _, err := messages.EncodeID(c.meta.ID); err != nil {
		return nil, fmt.Errorf("header %s: %w", messages.HeaderCommandID, err)
	}
	if c.meta.At, err = time.Parse(time.RFC3339Nano, h.Get(messages.HeaderTime)); err != nil {
		return nil, fmt.Errorf("header %s: %w", messages.HeaderTime, err)
	}
	if v := h.Get(messages.HeaderExpectedVersion); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", messages.HeaderExpectedVersion, err)
		}
		c.expected = &n
	}
	return c, nil
}

// decode gives the command as the domain knows it. One that it does not know, or cannot read,
// may be of a newer build.
func (b *Inbox) decode(c *command) (holdfast.Command, error) {
	def, ok := b.types[c.subject.Type]
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeInternal, "this build knows no type %s", c.subject.Type)
	}
	m, ok := def.NewCommand(c.subject.Name)
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeInternal, "type %s knows no command %s in this build", c.subject.Type, c.subject.Name)
	}
	if err := proto.Unmarshal(c.body, m); err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInternal, "the stored %s cannot be read: %w", c.subject.Name, err)
	}
	return m, nil
}

// delivery is how it is sent: whatever came between, it takes effect once since it was accepted.
func (c *command) delivery() []holdfast.SendOption {
	opts := c.once()
	if c.expected != nil {
		opts = append(opts, holdfast.ExpectVersion(holdfast.Version(*c.expected)))
	}
	return opts
}

func (c *command) once() []holdfast.SendOption {
	return []holdfast.SendOption{holdfast.WithMeta(c.meta), holdfast.Once(c.meta.At)}
}
