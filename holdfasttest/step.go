package holdfasttest

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

const changed = "%s: %s, then %s"

// A history is what stands in the log of one aggregate, and the state that it makes.
type history struct {
	def      holdfast.Definition
	recorded []*messages.Event
	state    any
}

// follow records e and evolves the state by it, and checks that the definition keeps
// the rules. h itself stays as it is.
func (h history) follow(e holdfast.Event) (history, error) {
	if e == nil || !e.ProtoReflect().IsValid() {
		return h, errors.New("an event is nil")
	}
	rec, err := persistence.EncodeEvent(e)
	if err != nil {
		return h, fmt.Errorf("the event cannot be recorded: %w", err)
	}
	next, err := h.evolve(rec, e)
	if err != nil {
		return h, err
	}
	h.state = next
	h.recorded = append(slices.Clip(h.recorded), rec)
	return h, h.checkSnapshot()
}

// evolve gives the state after rec, which is the event e. It evolves twice: by e itself,
// as a node does after a decision, and by what is read back, as a node does when it
// loads.
func (h history) evolve(rec *messages.Event, e holdfast.Event) (any, error) {
	name := proto.MessageName(e)
	before, text := pictureOf(h.state), describe(e)
	first, err := h.def.Apply(h.state, e)
	if err != nil {
		return nil, fmt.Errorf("the event %s cannot be evolved: %w", name, err)
	}
	after := pictureOf(first)
	if d := before.differences(changed, pictureOf(h.state)); d != "" {
		return nil, fmt.Errorf("evolving %s changes the state that it was given; copy a map, slice or pointer before changing what it holds:%s", name, d)
	}
	if path, found := before.grownInPlace(after); found {
		return nil, fmt.Errorf("evolving %s appends to the array of the state that it was given, so that two states share %s; append to slices.Clip(…) of it", name, path)
	}
	if describe(e) != text {
		return nil, fmt.Errorf("evolving %s changes the event:\n  before  %s\n  after   %s", name, text, describe(e))
	}
	read, err := persistence.DecodeEvent(h.def, rec)
	if err != nil {
		return nil, fmt.Errorf("the event %s cannot be read back: %w", name, err)
	}
	second, err := h.def.Apply(h.state, read)
	if err != nil {
		return nil, fmt.Errorf("the event %s cannot be evolved once it is read back: %w", name, err)
	}
	if d := after.differences(changed, pictureOf(second)); d != "" {
		return nil, fmt.Errorf("evolving %s from one state twice gives two states; it may depend on the state and the event only:%s", name, d)
	}
	return second, nil
}

// checkSnapshot checks that the state survives being saved and loaded.
func (h history) checkSnapshot() error {
	_, err := h.reloaded()
	return err
}

// reloaded gives the state as it is after a way through its snapshot; the state itself
// when the type has none.
func (h history) reloaded() (any, error) {
	before := pictureOf(h.state)
	saved := h.def.Save(h.state)
	if saved == nil {
		return h.state, nil
	}
	if again := h.def.Save(h.state); !proto.Equal(saved, again) {
		return nil, fmt.Errorf("saving one state twice gives two snapshots:%s", fieldsOf(saved).differences(changed, fieldsOf(again)))
	}
	wire, err := proto.Marshal(saved)
	if err != nil {
		return nil, fmt.Errorf("the snapshot cannot be encoded: %w", err)
	}
	read := h.def.NewSaved()
	if err := proto.Unmarshal(wire, read); err != nil {
		return nil, fmt.Errorf("the snapshot cannot be decoded: %w", err)
	}
	loaded := h.def.Load(read)
	if d := before.differences(changed, pictureOf(h.state)); d != "" {
		return nil, fmt.Errorf("saving or loading a snapshot changes the state:%s", d)
	}
	if d := before.differences("%s: %s, loaded as %s", pictureOf(loaded)); d != "" {
		return nil, fmt.Errorf("load(save(state)) is not the state, so that a snapshot would change what is decided:%s", d)
	}
	return loaded, nil
}

// checkAnew folds the whole history anew, and once more on another day, and checks that
// the state is the same.
func (h history) checkAnew(t TB) (any, error) {
	anew, err := persistence.Fold(h.def, h.def.Zero(), h.recorded)
	if err != nil {
		return nil, err
	}
	want := pictureOf(h.state)
	if d := want.differences(changed, pictureOf(anew)); d != "" {
		return nil, fmt.Errorf("folding the same events anew gives another state; an evolution may depend on the state and the event only:%s", d)
	}
	var later any
	if otherDay(t, func() { later, err = persistence.Fold(h.def, h.def.Zero(), h.recorded) }) {
		if err != nil {
			return nil, err
		}
		if d := want.differences(changed, pictureOf(later)); d != "" {
			return nil, fmt.Errorf("an evolution reads the clock: folded on another day, the same events give another state:%s", d)
		}
	}
	return anew, nil
}
