package timers

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// A Timer is to wake an aggregate at a time.
type Timer struct {
	// For is whom it wakes.
	For holdfast.Ref
	// Key names it among the timers of For: 1 to 64 letters, digits, '-' and '_', as in
	// "3-17". Give every timer a key of its own: see [Timers.Cancel].
	Key string
	// At is when it fires, of the years 1970 to 2261, by the clock of the server that
	// leads the stream. One of the past fires at once.
	At time.Time
}

// String names the timer.
func (t Timer) String() string { return t.For.String() + " " + t.Key }

// The headers that make a message a schedule.
const (
	headerSchedule = "Nats-Schedule"
	headerTarget   = "Nats-Schedule-Target"
	headerExpected = "Nats-Expected-Last-Subject-Sequence"
)

// The times whose nanoseconds since 1970 the server can count. It takes others, and
// fires them when it likes.
var earliest, latest = time.Unix(0, 0), time.Unix(0, 1<<63-1)

// subject is where the timer is while it is pending.
func (t Timer) subject(c messages.Context) (messages.Subject, error) {
	typ, err := messages.ParseType(t.For.Type)
	if err != nil {
		return messages.Subject{}, err
	}
	id, err := messages.EncodeID(t.For.ID)
	if err != nil {
		return messages.Subject{}, err
	}
	key, err := messages.ParseKey(t.Key)
	return messages.Subject{Context: c, Kind: messages.KindTimer, Type: typ, ID: id, Key: key}, err
}

// encode gives the text of its time, which is also the body of its messages.
func encode(at time.Time) (string, error) {
	if at.Before(earliest) || at.After(latest) {
		return "", fmt.Errorf("At is %s: want a time of the years 1970 to 2261", at.Format(time.RFC3339))
	}
	return at.UTC().Format(time.RFC3339Nano), nil
}

// schedule makes the message that makes the server keep the timer, unless one with its
// key is pending.
func (t Timer) schedule(c messages.Context) (*nats.Msg, error) {
	subject, err := t.subject(c)
	if err != nil {
		return nil, err
	}
	at, err := encode(t.At)
	if err != nil {
		return nil, err
	}
	m := &nats.Msg{Subject: subject.String(), Data: []byte(at)}
	subject.Kind = messages.KindDue
	m.Header = nats.Header{headerSchedule: {"@at " + at}, headerTarget: {subject.String()}, headerExpected: {"0"}}
	return m, nil
}

// fired reads the message of a timer that has fired.
func fired(m *nats.Msg) (Timer, error) {
	subject, err := messages.ParseSubject(m.Subject)
	if err != nil {
		return Timer{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, string(m.Data))
	if err != nil {
		return Timer{}, fmt.Errorf("message on %s: its body is no time: %w", m.Subject, err)
	}
	return Timer{For: holdfast.Ref{Type: subject.Type, ID: subject.ID.Raw()}, Key: subject.Key, At: at}, nil
}
