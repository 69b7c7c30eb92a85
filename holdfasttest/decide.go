package holdfasttest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
)

// decisions is how often a decision is made. An order that is drawn from a map changes
// seldom: with two keys only one time in eight.
const decisions = 64

// A verdict is what was decided: events, or no.
type verdict struct {
	events    holdfast.Events
	rejection *holdfast.Rejection
}

func (v verdict) String() string {
	if v.rejection != nil {
		return fmt.Sprintf("rejected %q: %s", v.rejection.Reason, v.rejection.Message)
	}
	return list(v.events)
}

func (v verdict) same(w verdict) bool {
	if v.rejection != nil || w.rejection != nil {
		return v.rejection != nil && w.rejection != nil && *v.rejection == *w.rejection
	}
	return sameEvents(v.events, w.events)
}

// A trial is one command, as it came over the wire, on its way to a decision.
type trial struct {
	history
	short string
	wire  []byte
	meta  holdfast.Meta
}

func newTrial(h history, c holdfast.Command, m holdfast.Meta) (trial, error) {
	if c == nil || !c.ProtoReflect().IsValid() {
		return trial{}, errors.New("the command is nil")
	}
	name := c.ProtoReflect().Descriptor()
	known, ok := h.def.NewCommand(string(name.Name()))
	if !ok || proto.MessageName(known) != name.FullName() {
		return trial{}, fmt.Errorf("the type %s has no Decide for the command %s; it has %v", h.def.Name(), name.FullName(), h.def.Commands())
	}
	wire, err := proto.Marshal(c)
	if err != nil {
		return trial{}, fmt.Errorf("the command cannot be sent: %w", err)
	}
	return trial{history: h, short: string(name.Name()), wire: wire, meta: m}, nil
}

// decide makes the decision again and again, in all circumstances that may not matter.
func (t trial) decide(tb TB) (verdict, error) {
	before := pictureOf(t.state)
	first, err := t.once(t.state)
	if err != nil {
		return first, err
	}
	if d := before.differences(changed, pictureOf(t.state)); d != "" {
		return first, fmt.Errorf("the decision changes the state that it was given; only events may, when they are evolved:%s", d)
	}
	if err := first.check(); err != nil {
		return first, err
	}
	for range decisions - 1 {
		again, err := t.once(t.state)
		if err != nil {
			return first, err
		}
		if !first.same(again) {
			return first, differs("the decision is not the same when it is made again; it may depend on the state, the command and its meta only, and not on the order of a map", first, again)
		}
		if e, found := samePointer(first.events, again.events); found {
			return first, fmt.Errorf("two decisions gave one and the same %s in memory; make a new event each time", proto.MessageName(e))
		}
	}
	return first, t.decideElsewhere(tb, first)
}

func (t trial) decideElsewhere(tb TB, first verdict) error {
	anew, err := t.checkAnew(tb)
	if err != nil {
		return err
	}
	loaded, err := t.reloaded()
	if err != nil {
		return err
	}
	for _, same := range []struct {
		state any
		how   string
	}{{anew, "folded anew"}, {loaded, "loaded from its snapshot"}} {
		again, err := t.once(same.state)
		if err != nil {
			return err
		}
		if !first.same(again) {
			return differs("the decision is another one on the same state "+same.how, first, again)
		}
	}
	var later verdict
	if otherDay(tb, func() { later, err = t.once(t.state) }) {
		if err != nil {
			return err
		}
		if !first.same(later) {
			return differs("the decision reads the clock; take the time from the command's meta (DecideMeta)", first, later)
		}
	}
	return nil
}

func differs(what string, first, again verdict) error {
	return fmt.Errorf("%s:\n  first   %s\n  then    %s", what, first, again)
}

// once makes the decision on a command just read from the wire.
func (t trial) once(state any) (verdict, error) {
	c, _ := t.def.NewCommand(t.short)
	if err := proto.Unmarshal(t.wire, c); err != nil {
		return verdict{}, fmt.Errorf("the command cannot be read back: %w", err)
	}
	sent := proto.Clone(c)
	events, err := t.def.Decide(state, c, t.meta)
	if !proto.Equal(sent, c) {
		return verdict{}, fmt.Errorf("the decision changes the command, which may be decided again:\n  before  %s\n  after   %s", describe(sent), describe(c))
	}
	if err == nil {
		return verdict{events: events}, nil
	}
	var r *holdfast.Rejection
	if !errors.As(err, &r) {
		return verdict{}, fmt.Errorf("the decision fails with an error that is no rejection, which is a bug of the domain: %w", err)
	}
	return verdict{rejection: r}, nil
}

// check looks at a verdict alone.
func (v verdict) check() error {
	if v.rejection != nil && !v.rejection.Valid() {
		return fmt.Errorf("the reason %q is not valid: want a small letter, then small letters, digits and '_', 64 at most", v.rejection.Reason)
	}
	for i, e := range v.events {
		if _, found := samePointer(v.events[:i], v.events[i:i+1]); found {
			return fmt.Errorf("the decision gives one and the same %s twice in memory; make a new event each time", proto.MessageName(e))
		}
	}
	return nil
}

// samePointer finds an event of a that is, in memory, an event of b.
func samePointer(a, b holdfast.Events) (holdfast.Event, bool) {
	for _, x := range a {
		for _, y := range b {
			if reflect.ValueOf(x).Pointer() == reflect.ValueOf(y).Pointer() {
				return x, true
			}
		}
	}
	return nil, false
}

// otherDay runs f while the clock stands in the year 2000, and reports whether it did.
// It takes a *testing.T, or a TB that gives one, and does nothing in a test that has a
// clock of its own already (testing/synctest).
func otherDay(t TB, f func()) (ran bool) {
	if wrapper, ok := t.(interface{ T() *testing.T }); ok {
		t = wrapper.T()
	}
	tt, ok := t.(*testing.T)
	if !ok {
		return false
	}
	defer func() { _ = recover() }() // synctest.Test refuses to be called within a bubble
	synctest.Test(tt, func(*testing.T) { f(); ran = true })
	return ran
}
