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

	mu      sync.Mutex
	system  []any
	user    []any
	running bool
	closed  bool
}

var _ actor.Mailbox = (*mailbox)(nil)

// PostUserMessage implements [actor.Mailbox].
func (m *mailbox) PostUserMessage(message any) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		m.bounce(message)
		return
	}
	m.user = append(m.user, message)
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
	start := !m.running && m.invoker != nil
	m.running = m.running || start
	m.mu.Unlock()
	if start {
		m.dispatcher.Schedule(m.run)
	}
}

// RegisterHandlers implements [actor.Mailbox].
func (m *mailbox) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	m.mu.Lock()
	m.invoker, m.dispatcher = invoker, dispatcher
	m.mu.Unlock()
}

// Start implements [actor.Mailbox].
func (m *mailbox) Start() {
	m.mu.Lock()
	if len(m.user)+len(m.system) == 0 {
		m.mu.Unlock()
		return
	}
	m.schedule()
}

// UserMessageCount implements [actor.Mailbox].
func (m *mailbox) UserMessageCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.user)
}

// run handles what is there, system messages first, until nothing is left.
func (m *mailbox) run() {
	for {
		m.mu.Lock()
		system, user := m.system, m.user
		m.system = nil
		if len(system) == 0 {
			m.user = nil
		}
		if len(system)+len(user) == 0 {
			m.running = false
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		for _, message := range system {
			m.invoker.InvokeSystemMessage(message)
		}
		if len(system) == 0 {
			m.runUser(user)
		}
	}
}

func (m *mailbox) runUser(user []any) {
	for i, message := range user {
		m.invoker.InvokeUserMessage(message)
		if m.isClosed() {
			m.bounceAll(user[i+1:])
			return
		}
	}
}

func (m *mailbox) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
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
