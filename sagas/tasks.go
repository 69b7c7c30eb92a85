package sagas

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A Task is what a commit in the log asks for: a [Command], a [Timer], a [Cancel] or a [Listing]. Whoever
// reads the log does it, perhaps again after a crash: that changes nothing.
type Task interface {
	// Lane is what tasks have in common that are to be done one after the other, in the order
	// of the log; empty for those that may be done at any time.
	Lane() string
}

// A Command is to be sent to an aggregate, or a saga.
type Command struct {
	To       holdfast.Ref
	Command  holdfast.Command
	Delivery holdfast.Delivery
	// Report, if not nil, makes the command that tells a saga what became of it. Without one
	// it is to be sent until it has been taken or refused.
	Report func(holdfast.Receipt, error) Command
}

// At gives the command's delivery at a time, which is never before what caused it, whatever
// the clocks of those who deliver it say.
func (c Command) At(now time.Time) holdfast.Delivery {
	d := c.Delivery
	if d.Meta.At.Before(now) {
		d.Meta.At = now
	}
	return d
}

// A Timer is for waking a saga.
type Timer struct {
	Saga holdfast.Ref
	// Key names the timer among those of the saga.
	Key string
	At  time.Time
}

// A Cancel takes a timer away, if it is still there.
type Cancel struct {
	Saga holdfast.Ref
	Key  string
}

// A Listing puts a saga on the list of those that are not over, or takes it off.
type Listing struct {
	Saga holdfast.Ref
	// Since is when it began; zero takes it off.
	Since time.Time
}

// Lane implements [Task].
func (l Listing) Lane() string { return l.Saga.String() + " listed" }

// Lane implements [Task]: what a saga is told, it is told in order.
func (c Command) Lane() string {
	if c.Report != nil {
		return ""
	}
	return c.To.String()
}

// Lane implements [Task].
func (t Timer) Lane() string { return t.Saga.String() + " " + t.Key }

// Lane implements [Task].
func (c Cancel) Lane() string { return c.Saga.String() + " " + c.Key }

// Command makes the command that wakes the saga, once its time has come.
func (t Timer) Command() Command {
	id := commandID(formatRef(t.Saga) + "!wake:" + t.Key)
	return Command{
		To: t.Saga, Command: &messages.SagaWake{},
		Delivery: holdfast.Delivery{Once: t.At, Meta: holdfast.Meta{ID: id, CorrelationID: id, At: t.At}},
	}
}

// Tasks gives what a saga type is asked for by an aggregate's commit: one of its own sagas,
// or one of whose events it wants to be told. The error is that of an event of its own that
// cannot be read.
func (b *Book) Tasks(d *Saga, ref holdfast.Ref, c *messages.Commit) (tasks []Task, err error) {
	version := holdfast.Version(c.FirstVersion) - 1
	for _, ch := range c.Changes {
		for _, e := range ch.Events {
			version++
			o := origin{book: b, saga: d, ref: ref, version: version, change: ch}
			if ref.Type == d.name {
				if tasks, err = o.intents(e, tasks); err != nil {
					return nil, err
				}
			}
			if b.concerned[route{d.name, ref.Type, protoreflect.FullName(e.Type)}] {
				tasks = o.tell(e, tasks)
			}
		}
	}
	return tasks, nil
}

// An origin is where an event stands.
type origin struct {
	book    *Book
	saga    *Saga
	ref     holdfast.Ref
	version holdfast.Version
	change  *messages.Change
}

func (o origin) eventID() string { return fmt.Sprintf("%s@%d", formatRef(o.ref), o.version) }

func (o origin) time() time.Time { return timeAt(o.change.Time) }

// delivery is that of a command which the event causes.
func (o origin) delivery(id, correlation, user string, since time.Time) holdfast.Delivery {
	return holdfast.Delivery{Once: since, Meta: holdfast.Meta{
		ID: commandID(id), CorrelationID: correlation, CausationID: commandID(o.eventID()), User: user, Trace: o.change.Trace, At: o.time(),
	}}
}

// commandID makes a name a command id, of which there is a limit to the length.
func commandID(name string) string {
	if messages.CheckCommandID(name) == nil {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "saga:" + hex.EncodeToString(sum[:16])
}

// CommandID is the id of the command that does a step of a saga, or undoes it, and of what
// makes that command void. It changes with each edit.
func CommandID(saga holdfast.Ref, step string, way messages.SagaWay, edits uint32) string {
	name := formatRef(saga) + ":" + step
	if way == undo {
		name += "!undo"
	}
	if edits > 0 {
		name += fmt.Sprintf("!%d", edits)
	}
	return commandID(name)
}

// intents gives what an event of a saga asks for.
func (o origin) intents(recorded *messages.Event, tasks []Task) ([]Task, error) {
	switch recorded.Type {
	case nameIntended, nameAnswered, nameAlarmed, nameStepEnded, nameRouted:
	case nameBegun, nameParked:
		return append(tasks, Listing{Saga: o.ref, Since: o.time()}), nil
	case nameEnded:
		return append(tasks, Listing{Saga: o.ref}), nil
	default:
		return tasks, nil
	}
	event, err := persistence.DecodeEvent(o.saga.typ, recorded)
	if err != nil {
		return nil, err
	}
	// Whatever is set anew has another key: one that has fired wakes nobody for the second time.
	timer := func(at int64, key ...any) {
		if at != 0 {
			tasks = append(tasks, Timer{Saga: o.ref, Key: timerKey(key...), At: timeAt(at)})
		}
	}
	switch e := event.(type) {
	case *messages.SagaIntended:
		if e.Attempt == 1 {
			timer(e.Deadline, "deadline", e.Step)
		}
		if e.To != "" {
			c, err := o.errand(e)
			if err != nil {
				return nil, err
			}
			tasks = append(tasks, c)
		}
	case *messages.SagaAnswered:
		// Attempts to make a command void are counted anew for the one in its place.
		timer(e.Again, "again", e.Step, e.Way, e.Attempt, e.Again)
	case *messages.SagaAlarmed:
		timer(e.At, "alarm", e.Name, e.At)
	case *messages.SagaRouted:
		tasks = append(tasks, o.hearing(e.To, &messages.SagaHear{Heard: e.Heard}), Listing{Saga: o.ref})
	case *messages.SagaStepEnded:
		if e.Way == do && o.saga.stepOf(e.Step).timeout > 0 {
			tasks = append(tasks, Cancel{Saga: o.ref, Key: timerKey("deadline", e.Step)})
		}
	}
	return tasks, nil
}

// The events of a saga that ask for something.
var (
	nameIntended  = string(proto.MessageName((*messages.SagaIntended)(nil)))
	nameAnswered  = string(proto.MessageName((*messages.SagaAnswered)(nil)))
	nameAlarmed   = string(proto.MessageName((*messages.SagaAlarmed)(nil)))
	nameRouted    = string(proto.MessageName((*messages.SagaRouted)(nil)))
	nameBegun     = string(proto.MessageName((*messages.SagaBegun)(nil)))
	nameParked    = string(proto.MessageName((*messages.SagaParked)(nil)))
	nameEnded     = string(proto.MessageName((*messages.SagaEnded)(nil)))
	nameStepEnded = string(proto.MessageName((*messages.SagaStepEnded)(nil)))
)

func timerKey(parts ...any) string {
	sum := sha256.Sum256([]byte(fmt.Sprintln(parts...)))
	return hex.EncodeToString(sum[:8])
}

// errand makes the command of an intent. Those that do a step and make it void have the same
// id, so that the aggregate takes one of them.
func (o origin) errand(in *messages.SagaIntended) (Command, error) {
	to, err := parseRef(in.To)
	if err != nil {
		return Command{}, err
	}
	way := in.Way
	var command holdfast.Command = &messages.Void{}
	if way == void {
		way = in.Of
	} else if command, err = o.book.open(to.Type, in); err != nil {
		return Command{}, err
	}
	return Command{
		To: to, Command: command, Delivery: o.delivery(CommandID(o.ref, in.Step, way, in.Edits), in.CorrelationId, in.User, timeAt(in.Since)),
		Report: func(r holdfast.Receipt, err error) Command { return o.report(in, r, err) },
	}, nil
}

// open makes the command of an intent. What its aggregate does not know is sent all the
// same: the saga hears of it.
func (b *Book) open(typ string, in *messages.SagaIntended) (holdfast.Command, error) {
	if def := b.types[typ]; def != nil {
		if c, ok := def.NewCommand(string(in.Command.MessageName().Name())); ok {
			return c, in.Command.UnmarshalTo(c)
		}
	}
	return in.Command.UnmarshalNew()
}

// report tells the saga what became of an intent.
func (o origin) report(in *messages.SagaIntended, r holdfast.Receipt, err error) Command {
	a := &messages.SagaAnswered{Step: in.Step, Way: in.Way, Attempt: in.Attempt}
	switch no, rejected := errors.AsType[*holdfast.Rejection](err); {
	case rejected:
		a.Code, a.Reason, a.Message = string(holdfast.CodeRejected), no.Reason, no.Message
	case err != nil:
		a.Code, a.Message = string(holdfast.CodeOf(err)), err.Error()
	case in.Way == void && !r.Duplicate: // what it records is nothing
	default:
		a.Version, a.Events = uint64(r.Version), r.Events
	}
	a.Reason, a.Message = strings.ToValidUTF8(a.Reason, "\uFFFD"), strings.ToValidUTF8(a.Message, "\uFFFD")
	d := o.delivery(o.eventID()+"!report", in.CorrelationId, in.User, o.time())
	return Command{To: o.ref, Command: &messages.SagaReport{Answer: a}, Delivery: d}
}

// tell gives what sagas have to be told of an event. One that cannot be read, or of which it
// cannot be said which saga it concerns, is kept by a saga of its own, where an operator
// finds it.
func (o origin) tell(recorded *messages.Event, tasks []Task) []Task {
	def := o.book.types[o.ref.Type]
	event, err := persistence.DecodeEvent(def, recorded)
	var newest holdfast.Events
	if err == nil {
		newest, err = def.Upcast(event)
	}
	if err != nil {
		raw := &anypb.Any{TypeUrl: "type.googleapis.com/" + recorded.Type, Value: recorded.Data}
		return append(tasks, o.unrouted(&messages.SagaHeard{From: o.source(0), Event: raw}, err.Error()))
	}
	for i, e := range newest {
		t, ok := o.book.routes[route{o.saga.name, o.ref.Type, eventName(e)}]
		if !ok {
			continue
		}
		heard := &messages.SagaHeard{From: o.source(i), Event: mustPack(e)}
		to, fault := t.find(e, sourceOf(heard.From))
		switch {
		case fault != "":
			tasks = append(tasks, o.unrouted(heard, fault))
		case to != "":
			tasks = append(tasks, o.hearing(to, &messages.SagaHear{Heard: heard}))
		}
	}
	return tasks
}

// source tells where the i-th event comes from that the recorded one is read as.
func (o origin) source(i int) *messages.SagaSource {
	id := o.eventID()
	if i > 0 {
		id += fmt.Sprintf("#%d", i)
	}
	return &messages.SagaSource{Ref: formatRef(o.ref), Version: uint64(o.version), Time: o.change.Time, User: o.change.User, EventId: id}
}

func (o origin) unrouted(h *messages.SagaHeard, why string) Command {
	sum := sha256.Sum256([]byte(h.From.EventId))
	return o.hearing("unrouted-"+hex.EncodeToString(sum[:8]), &messages.SagaHear{Heard: h, Unrouted: strings.ToValidUTF8(why, "\uFFFD")})
}

// hearing makes the command that tells one saga of an event.
func (o origin) hearing(to string, c *messages.SagaHear) Command {
	d := o.delivery(c.Heard.From.EventId, o.change.CorrelationId, o.change.User, o.time())
	return Command{To: holdfast.Ref{Type: o.saga.name, ID: to}, Command: c, Delivery: d}
}

// find finds the saga that an event concerns, or says why it cannot be found.
func (t trigger) find(e holdfast.Event, from Source) (id, fault string) {
	defer func() {
		if r := recover(); r != nil {
			fault = fmt.Sprintf("which saga the event concerns cannot be said: %v", r)
		}
	}()
	if id = t.which(e, from); id == "" {
		return "", ""
	}
	if _, err := messages.EncodeID(id); err != nil {
		fault = fmt.Sprintf("%q cannot be the id of a saga: %v", id, err)
	}
	return id, fault
}
