package actors

import (
	"slices"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

// A desk notes what a mailbox has handled, and what it has had scheduled.
type desk struct {
	handled   []any
	scheduled []func()
	during    map[any]func() // what happens while a message is handled
}

func (d *desk) InvokeSystemMessage(m any) { d.InvokeUserMessage(m) }

func (d *desk) InvokeUserMessage(m any) {
	d.handled = append(d.handled, m)
	if f := d.during[m]; f != nil {
		f()
	}
}

func (d *desk) EscalateFailure(any, any) {}

func (d *desk) Schedule(run func()) { d.scheduled = append(d.scheduled, run) }

func (d *desk) Throughput() int { return 1 }

// goOn runs what has been scheduled.
func (d *desk) goOn() {
	for len(d.scheduled) > 0 {
		run := d.scheduled[0]
		d.scheduled = d.scheduled[1:]
		run()
	}
}

func newDesk() (*desk, *mailbox) {
	d, m := &desk{during: map[any]func(){}}, &mailbox{}
	m.RegisterHandlers(d, d)
	m.Start()
	return d, m
}

func (d *desk) want(t *testing.T, scheduled int, handled ...any) {
	t.Helper()
	if !slices.Equal(d.handled, handled) || len(d.scheduled) != scheduled {
		t.Errorf("handled %v, want %v; scheduled %d, want %d", d.handled, handled, len(d.scheduled), scheduled)
	}
}

func yes() bool { return true }

func TestLend(t *testing.T) {
	t.Parallel()
	t.Run("brief", func(t *testing.T) {
		d, m := newDesk()
		m.lend("a", yes)
		d.want(t, 0, "a")
		m.lend("b", yes)
		d.want(t, 0, "a", "b")
	})
	t.Run("not brief", func(t *testing.T) {
		d, m := newDesk()
		m.lend("a", func() bool { return false })
		d.want(t, 1)
		d.goOn()
		d.want(t, 0, "a")
	})
	t.Run("others are handled", func(t *testing.T) {
		d, m := newDesk()
		m.PostUserMessage("a")
		m.lend("b", yes)
		d.want(t, 1)
		d.goOn()
		d.want(t, 0, "a", "b")
	})
	t.Run("others come meanwhile", func(t *testing.T) {
		d, m := newDesk()
		d.during["a"] = func() {
			m.PostUserMessage("b")
			m.lend("c", yes)
			m.PostSystemMessage("system")
		}
		m.lend("a", yes)
		d.want(t, 1, "a")
		d.goOn()
		d.want(t, 0, "a", "system", "b", "c")
	})
	t.Run("closed meanwhile", func(t *testing.T) {
		d, m := newDesk()
		var bounced []any
		m.bounce = func(message any) { bounced = append(bounced, message) }
		d.during["a"] = func() {
			m.PostUserMessage("b")
			m.close()
		}
		m.lend("a", yes)
		m.lend("c", yes)
		d.want(t, 0, "a")
		if !slices.Equal(bounced, []any{"b", "c"}) {
			t.Errorf("bounced %v", bounced)
		}
	})
}

// What has been handled is not held on to, and a long queue is not kept.
func TestQueueIsUsedAgain(t *testing.T) {
	d, m := newDesk()
	for range 3 {
		m.PostUserMessage("a")
		d.goOn()
	}
	if got := testing.AllocsPerRun(100, func() {
		d.handled, d.scheduled = d.handled[:0], d.scheduled[:0]
		m.PostUserMessage("a")
		m.handle()
	}); got > 1 { // what has been scheduled
		t.Errorf("%v allocations a message", got)
	}
	for range maxSpare + 1 {
		m.PostUserMessage("a")
	}
	d.goOn()
	for _, queue := range [][]any{m.user, m.spare} {
		if cap(queue) > maxSpare || slices.ContainsFunc(queue[:cap(queue)], func(m any) bool { return m != nil }) {
			t.Errorf("it keeps %v", queue[:cap(queue)])
		}
	}
}

var (
	_ actor.MessageInvoker = (*desk)(nil)
	_ actor.Dispatcher     = (*desk)(nil)
)
