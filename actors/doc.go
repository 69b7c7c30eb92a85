// Package actors runs the aggregates of a node, each as one actor: decide → append →
// evolve, one command at a time.
//
// The [Engine] is a pure state machine: it takes what happened (a request came, the log
// was read, an append was answered) and returns what to do about it. It reads no clock
// and does no I/O; testdata/ tells its behaviour in scripts. The aggregate actor is the
// thin shell that does what the engine says, on Proto.Actor; the [Host] activates
// aggregates on their first message and passivates them when they are idle or too many.
package actors
