// Package timers wakes aggregates at a time: durable timers on JetStream's message
// schedules, in a stream of their own, <CONTEXT>_TIMERS.
//
// A timer that is set is a schedule: one message on a subject that names the aggregate and
// the timer's key, so there is one of a key, and the one that was set first. When it is
// due, the server that leads the stream puts its message on another subject of the stream
// and takes the schedule away, in one step. From there all nodes that run take it through
// one consumer, and when one has handled it, it is removed. So it passes through every
// restart, of any node or server, at every moment; it may come twice, and never not at all.
//
// It comes when it is due or up to a quarter of a second later, if the server is not busy,
// by the clock of the server. While no node runs it waits, without limit.
package timers
