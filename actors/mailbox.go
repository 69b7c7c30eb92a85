package actors

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// A mailbox is an actor's queue. Unlike Proto.Actor's own it can be closed: what is in
// it then, and all that is posted later, goes to bounce instead of vanishing behind a
// stop. It has no bound of its own, because the aggregate never blocks and bounds what
// waits in its engine.
//
// The actor recovers from its own panics, so the mailbox is never suspended.
type mailbox struct {
	bounce func(message any)

	invoker    actor.MessageInvoker
	dispatcher actor.Dispatcher
	handle     func() // run

	mu      sync.Mutex
	system  []any
	user    []any
	spare   []any // what user was before, to be used again
	running bool
	closed  bool
}

var _ actor.Mailbox = (*mailbox)(nil)

// PostUserMessage implements [actor.Mailbox].
func (m *mailbox) PostUserMessage(message any) {
	m.mu.Lock()
	m.post(message)
}

// post is called with the lock and gives it back.
func (m *mailbox) post(message any) {
	if m.closed {
		m.mu.Unlock()
		m.bounce(message)
		return
	}
	m.user = append(m.user, message)
	m.schedule()
}

// lend posts a message, and has it handled by the caller's goroutine when there is nothing else
// to be handled, and brief says that this takes no time. It is asked while nothing is handled, and
// must not call the mailbox.
func (m *mailbox) lend(message any, brief func() bool) {
	m.mu.Lock()
	if m.closed || m.running || len(m.user)+len(m.system) > 0 || !brief() {
		m.post(message)
		return
	}
	m.running = true
	m.mu.Unlock()
	m.invoker.InvokeUserMessage(message)
	m.mu.Lock()
	m.running = false
	m.schedule()
}

// PostSystemMessage implements [actor.Mailbox].
func (m *mailbox) PostSystemMessage(message any) {
	m.mu.Lock()
	m.system = append(m.system, message)
	m.schedule()
}

// schedule is called with the lock and gives it back.
func (m *mailbox) schedule() {
	start := !m.running && m.invoker != nil && len(m.user)+len(m.system) > 0
	m.running = m.running || start
	m.mu.Unlock()
	if start {
		m.dispatcher.Schedule(m.handle)
	}
}

// RegisterHandlers implements [actor.Mailbox].
func (m *mailbox) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	m.mu.Lock()
	m.invoker, m.dispatcher, m.handle = invoker, dispatcher, m.run
	m.mu.Unlock()
}

// Start implements [actor.Mailbox].
func (m *mailbox) Start() {
	m.mu.Lock()
	m.schedule()
}

// UserMessageCount implements [actor.Mailbox].
func (m *mailbox) UserMessageCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.user)
}

// maxSpare is how long an empty queue may be to be used again.
const maxSpare = 8

// run handles what is there, system messages first, until nothing is left.
func (m *mailbox) run() {
	var system, user []any
	for {
		if system, user = m.take(user); len(system)+len(user) == 0 {
			return
		}
		for _, message := range system {
			m.invoker.InvokeSystemMessage(message)
		}
		m.runUser(user)
	}
}

// take takes the system messages, or else the others, and gives back the queue of those that
// were taken before. If there is neither, the run ends.
func (m *mailbox) take(before []any) (system, user []any) {
	clear(before) // an idle aggregate holds on to nothing
	m.mu.Lock()
	defer m.mu.Unlock()
	if before != nil && cap(before) <= maxSpare {
		m.spare = before[:0]
	}
	switch {
	case len(m.system) > 0:
		system, m.system = m.system, nil
	case len(m.user) > 0:
		user, m.user, m.spare = m.user, m.spare, nil
	default:
		m.running = false
	}
	return system, user
}

func (m *mailbox) runUser(user []any) {
	for i, message := range user {
		m.invoker.InvokeUserMessage(message)
		if m.closed { // by what handled it, and nobody else
			m.bounceAll(user[i+1:])
			return
		}
	}
}

// close bounces what is there and all that is posted later. System messages still pass.
func (m *mailbox) close() {
	m.mu.Lock()
	rest := m.user
	m.user, m.closed = nil, true
	m.mu.Unlock()
	m.bounceAll(rest)
}

func (m *mailbox) bounceAll(messages []any) {
	for _, message := range messages {
		m.bounce(message)
	}
}
