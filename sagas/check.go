package sagas

import "fmt"

// check finds what is wrong with the parts together.
func (d *Saga) check() error {
	if d.reacts() {
		return d.checkReactions()
	}
	if d.begin == nil {
		return fmt.Errorf("it cannot begin: give it a Begin")
	}
	if len(d.groups) == 0 {
		return fmt.Errorf("it has no steps")
	}
	var turn *step // the pivot, or what else cannot be undone
	for _, group := range d.groups {
		for _, name := range group {
			s := d.steps[name]
			switch {
			case s.kind == pivot && len(group) > 1:
				return fmt.Errorf("Pivot(%q) at %s: it stands together with others: let it stand alone", name, s.where)
			case s.kind == pivot && turn != nil && turn.kind == pivot:
				return fmt.Errorf("Pivot(%q) at %s: there is a pivot already, at %s", name, s.where, turn.where)
			case s.kind == pivot && turn != nil:
				return fmt.Errorf("Pivot(%q) at %s: the Retryable at %s comes before it: what is before the pivot must be a Step", name, s.where, turn.where)
			case s.kind == compensatable && turn != nil:
				return fmt.Errorf("Step(%q) at %s: there is no way back after %q at %s: make it a Retryable, or put it before", name, s.where, turn.name, turn.where)
			}
			if s.kind == pivot {
				turn = s
			}
		}
		for _, name := range group { // those that stand together have no order
			if s := d.steps[name]; s.kind == retryable && turn == nil {
				turn = s
			}
		}
		if mixed := d.mixed(group); mixed != nil {
			return mixed
		}
	}
	return nil
}

// checkReactions finds what is wrong with the parts of a saga of reactions.
func (d *Saga) checkReactions() error {
	switch {
	case d.begin != nil || len(d.groups) > 0 || len(d.hears) > 0:
		return fmt.Errorf("it has both steps and reactions: make two sagas of it")
	case len(d.events)+len(d.commands) == 0:
		return fmt.Errorf("it cannot begin: give it an On or an OnCommand")
	}
	return nil
}

// mixed refuses a group of which one part is undone and another tried for ever.
func (d *Saga) mixed(group []string) error {
	for _, name := range group[1:] {
		if first, s := d.steps[group[0]], d.steps[name]; s.kind != first.kind {
			return fmt.Errorf("Together: %q at %s and %q at %s are of two kinds: put steps of one kind together", first.name, first.where, s.name, s.where)
		}
	}
	return nil
}
