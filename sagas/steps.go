package sagas

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// kind of a step, by what becomes of the saga when it fails for good.
type kind int

const (
	compensatable kind = iota // it is undone, with all before it
	pivot                     // all before it is undone; once it is done, nothing is
	retryable                 // it is tried until it is done
	reacting                  // what becomes of it is told to a reaction, if there is one
)

type step struct {
	name  string
	where string
	kind  kind

	do, undo *intent
	needless string // why it needs no compensation
	until    func(data any) Verdict
	timeout  time.Duration
	retry    Backoff
	undoing  Backoff
}

// An intent makes a command for an aggregate.
type intent struct {
	typ     string
	command protoreflect.MessageType
	make    func(data any, reason string) (id string, c holdfast.Command)
}

// backoff is how the step is tried again in a way.
func (s *step) backoff(way messages.SagaWay) Backoff {
	if way == undo {
		return s.undoing
	}
	return s.retry
}

// An Option says more of a step. Do, Undo, NoUndo, Until, Timeout and Retry make options.
type Option struct {
	what string
	data []reflect.Type
	add  func(*step) error
}

// A Verdict is what a step that waits has come to.
type Verdict struct {
	ended  bool
	failed string
}

// The verdicts of [Until].
var (
	// Wait goes on waiting.
	Wait = Verdict{}
	// Done ends the step.
	Done = Verdict{ended: true}
)

// Failed ends the step in failure, for a reason that a person understands. The step has
// taken effect by then, and is undone as others are.
func Failed(reason string) Verdict { return Verdict{ended: true, failed: reason} }

// Step is a step that can be undone: it needs [Do] and [Undo], or [NoUndo]. Steps are done
// one after the other, in the order in which they are defined.
func Step(name string, options ...Option) Part {
	return stepPart("Step", caller(), name, compensatable, options)
}

// Pivot is the step after which there is no way back: when it fails, all before it is
// undone; once it is done, what follows is tried until it is done, too. There is one at
// the most.
func Pivot(name string, options ...Option) Part {
	return stepPart("Pivot", caller(), name, pivot, options)
}

// Retryable is a step that is tried until it is done. When its retries are used up the saga
// is stuck, and an operator has to help.
func Retryable(name string, options ...Option) Part {
	return stepPart("Retryable", caller(), name, retryable, options)
}

func stepPart(what, where, name string, k kind, options []Option) Part {
	var data []reflect.Type
	for _, o := range options {
		data = append(data, o.data...)
	}
	return Part{what: fmt.Sprintf("%s(%q)", what, name), where: where, data: data, add: func(d *Saga) error {
		s := &step{name: name, where: where, kind: k, retry: DefaultBackoff, undoing: DefaultBackoff}
		if err := s.define(options); err != nil {
			return err
		}
		if err := d.addStep(s); err != nil {
			return err
		}
		d.groups = append(d.groups, []string{name})
		return nil
	}}
}

// Together has steps done at the same time. The next ones begin when all are done; when one
// fails, the others are undone, too. A pivot stands alone.
func Together(steps ...Part) Part {
	return Part{what: "Together", where: caller(), add: func(d *Saga) error {
		if len(steps) < 2 {
			return fmt.Errorf("it needs at least two steps")
		}
		before := len(d.groups)
		for _, p := range steps {
			was := len(d.groups)
			if err := d.add(p); err != nil {
				return err
			}
			if len(d.groups) != was+1 || len(d.groups[was]) != 1 {
				return fmt.Errorf("%s at %s is no step: put steps together, and nothing else", p.what, p.where)
			}
		}
		var group []string
		for _, g := range d.groups[before:] {
			group = append(group, g...)
		}
		d.groups = append(d.groups[:before], group)
		return nil
	}}
}

var (
	stepName   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	sendName   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}(:[A-Za-z0-9_.=/-]{1,64})?$`)
	errBadName = errors.New("bad name: want a small letter, then small letters, digits, '-' and '_', 32 at most")
)

func (d *Saga) addStep(s *step) error {
	if prev, ok := d.steps[s.name]; ok {
		return fmt.Errorf("there is a step of that name already, at %s", prev.where)
	}
	d.steps[s.name] = s
	d.order = append(d.order, s.name)
	return nil
}

func (s *step) define(options []Option) error {
	if !stepName.MatchString(s.name) {
		return errBadName
	}
	for _, o := range options {
		if o.add == nil {
			return fmt.Errorf("an empty option was given: make options with Do, Undo and their companions")
		}
		if err := o.add(s); err != nil {
			return fmt.Errorf("%s: %w", o.what, err)
		}
	}
	switch {
	case s.do == nil:
		return fmt.Errorf("it does nothing: give it a Do")
	case s.kind == compensatable && s.undo == nil && s.needless == "":
		return fmt.Errorf("it has no compensation: give it an Undo, or say with NoUndo why it needs none")
	case s.kind != compensatable && (s.undo != nil || s.needless != ""):
		return fmt.Errorf("it is never undone: leave its compensation out, or make it a Step")
	case s.undo != nil && s.needless != "":
		return fmt.Errorf("it has both an Undo and a NoUndo")
	case s.timeout > 0 && s.kind == retryable:
		return fmt.Errorf("it is tried until it is done, so it cannot run out of time: bound it with Retry")
	}
	return nil
}

// Do binds what the step does: a command for an aggregate of a type, by its id. A nil
// command means that there is nothing to do. It is made once, and recorded before it is
// sent.
func Do[S any, C holdfast.Command](typ string, f func(S) (id string, c C)) Option {
	return Option{what: describe[C]("Do"), data: of[S](), add: func(s *step) (err error) {
		if s.do != nil {
			return fmt.Errorf("it does something already")
		}
		s.do, err = newIntent(typ, f == nil, func(s S, _ string) (string, C) { return f(s) })
		return err
	}}
}

// Undo binds what undoes the step. It is sent only when the step has certainly taken
// effect, and should not be refused: what keeps failing makes the saga stuck.
func Undo[S any, C holdfast.Command](typ string, f func(S) (id string, c C)) Option {
	return undoing(describe[C]("Undo"), typ, f == nil, func(s S, _ string) (string, C) { return f(s) })
}

// UndoBecause is [Undo] for a command that says why: the reason for which the saga turned
// back.
func UndoBecause[S any, C holdfast.Command](typ string, f func(s S, reason string) (id string, c C)) Option {
	return undoing(describe[C]("UndoBecause"), typ, f == nil, f)
}

func undoing[S any, C holdfast.Command](what, typ string, isNil bool, f func(S, string) (string, C)) Option {
	return Option{what: what, data: of[S](), add: func(s *step) (err error) {
		if s.undo != nil {
			return fmt.Errorf("it is undone already")
		}
		s.undo, err = newIntent(typ, isNil, f)
		return err
	}}
}

// NoUndo says that the step needs no compensation, and why.
func NoUndo(because string) Option {
	return Option{what: "NoUndo", add: func(s *step) error {
		if because == "" {
			return fmt.Errorf("say why")
		}
		s.needless = because
		return nil
	}}
}

// Until has the step wait, once its command has been accepted, for what f says of the data:
// an event that is heard. It is asked after each.
func Until[S any](f func(S) Verdict) Option {
	return Option{what: "Until", data: of[S](), add: func(s *step) error {
		if f == nil {
			return errNilFunction
		}
		s.until = func(data any) Verdict { return f(data.(S)) }
		return nil
	}}
}

// Timeout is how long the step may take, from its first attempt on, before it has failed.
// What may have been executed is found out first.
func Timeout(d time.Duration) Option {
	return Option{what: fmt.Sprintf("Timeout(%v)", d), add: func(s *step) error {
		if d <= 0 {
			return fmt.Errorf("choose more than nothing")
		}
		s.timeout = d
		return nil
	}}
}

// Retry is how often, and after which pauses, an attempt that failed is made again;
// [DefaultBackoff] without it. Which failures are, depends on the kind of step: a rejection
// ends a [Step] and a [Pivot] at once.
func Retry(b Backoff) Option {
	return Option{what: "Retry", add: func(s *step) error {
		s.retry = b
		return b.check()
	}}
}

// RetryUndo is how the step's compensation is tried again, whatever has made it fail;
// [DefaultBackoff] without it. When its attempts are used up the saga is stuck.
func RetryUndo(b Backoff) Option {
	return Option{what: "RetryUndo", add: func(s *step) error {
		s.undoing = b
		return b.check()
	}}
}

func newIntent[S any, C holdfast.Command](typ string, isNil bool, f func(S, string) (string, C)) (*intent, error) {
	mt, err := messageType[C](isNil)
	if err != nil {
		return nil, err
	}
	if typ == "" {
		return nil, fmt.Errorf("it names no aggregate type")
	}
	return &intent{typ: typ, command: mt, make: func(data any, reason string) (string, holdfast.Command) {
		id, c := f(data.(S), reason)
		if !c.ProtoReflect().IsValid() {
			return id, nil
		}
		return id, c
	}}, nil
}
