// Package holdfasttest is the kit with which a domain team tests its aggregates and
// keeps its recorded events readable.
//
// A [Scenario] runs the very definition that the node runs. Commands, events and
// snapshots go through their recorded form, and everything is done more than once,
// since what a domain gets wrong shows only then:
//
//	holdfasttest.Given(t, bank.Account, &pb.AccountOpened{Owner: "Ada"}).
//		When(&pb.Withdraw{Amount: 100}).
//		ThenRejected("insufficient_funds")
//
// Beside what was asked, each step checks that
//
//   - a decision is the same when it is made again: from the same state, from one that
//     was folded anew or loaded from its snapshot, and on another day;
//   - neither a decision nor an evolution nor a snapshot changes the state, the command
//     or the event that it was given, and no two states share what one of them may
//     change;
//   - every event can be recorded, read and evolved, and evolves in the same way each
//     time;
//   - load(save(state)) is the state;
//   - a rejection has a valid reason, and an error that is no rejection does not pass.
//
// [Golden] keeps a file with a sample of every event that was ever recorded, and fails
// when one can no longer be read or is read otherwise than it was written.
package holdfasttest
