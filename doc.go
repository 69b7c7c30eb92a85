// Package holdfast is the language in which a domain team writes aggregates:
// what a command decides, how an event evolves the state, how a retired event is
// read, and what of the state is shown and kept as a snapshot.
//
// An aggregate is a [Type]: a name, and one small function a message, bound with
// [Decide], [Evolve] and their companions in a single [Define]:
//
//	var Type = holdfast.Define("account",
//		holdfast.Decide(Account.Deposit),   // func(Account, *pb.Deposit) (holdfast.Events, error)
//		holdfast.Evolve(Account.Deposited), // func(Account, *pb.Deposited) Account
//		holdfast.Snapshot(Account.save, load),
//	)
//
// The rules of the house:
//
//   - The state is a value, and its zero value means "nothing has happened".
//   - A decision is pure: it looks at the state, the command and its [Meta], and
//     returns the events to record. It reads no clock and does no I/O, because it
//     may be made again on a newer state before anything is recorded.
//   - nil, nil from a decision means "nothing needs to happen".
//   - An event has happened: evolving cannot fail, and never changes the state it
//     was given (copy a map or slice before changing it).
//   - The domain says no with [Reject]. Any other error from a decision is a bug.
//   - An event that has no Evolve and no Upcast stops the aggregate loudly.
//   - An event's name in the log is its protobuf full name: renaming a Go type
//     changes nothing, renaming a protobuf message is a new event.
//
// The package imports the standard library and protobuf only. It does no I/O, reads
// no clock and starts no goroutine.
package holdfast
