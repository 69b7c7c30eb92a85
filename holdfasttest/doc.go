// Package holdfasttest is the kit with which a domain team tests its aggregates and sagas,
// and keeps its recorded events readable.
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
// A [SagaScenario] tells the story of a saga in virtual time, with the same checks. It says
// what happens, and what the saga sends; targets, ids and timers are those of a node:
//
//	paid := holdfasttest.GivenSaga(t, bank.Transfer, "t-1", bank.Account).
//		When(&pb.Transfer{From: "ada", To: "grace", Amount: 30}).
//		ThenSends(holdfasttest.To("account/ada", &pb.Withdraw{Amount: 30})).
//		WhenAccepted("withdraw").
//		ThenSends(holdfasttest.To("account/grace", &pb.Deposit{Amount: 30}))
//	paid.WhenAccepted("deposit").ThenStatus(sagas.Completed)
//	paid.WhenRejected("deposit", "closed", "it is closed").
//		ThenSends(holdfasttest.To("account/ada", &pb.Deposit{Amount: 30}))
//
// [Simulate] plays sagas and aggregates together, thousands of times, and each time other
// things go wrong; [Crash] has all die once, at every point in turn. What has to be true in
// the end is said once:
//
//	holdfasttest.Simulate(t, 2000, holdfasttest.World{
//		Types: []holdfast.Definition{bank.Account},
//		Sagas: []*sagas.Saga{bank.Transfer},
//		Story: func(s *holdfasttest.Sim) {
//			s.Given("account/ada", &pb.OpenAccount{Owner: "Ada"}, &pb.Deposit{Amount: 100})
//			s.Send("transfer/t-1", &pb.Transfer{From: "ada", To: "grace", Amount: 1 + s.Rand().Int64N(200)})
//		},
//		Check: func(s *holdfasttest.Sim) error {
//			if ada := s.State("account/ada").(*pb.Account); ada.Balance != 100 {
//				return fmt.Errorf("ada has %d, and nobody has had anything of her", ada.Balance)
//			}
//			return nil
//		},
//	})
//
// A run that fails is told line by line, and its seed plays it again.
//
// [Golden] keeps a file with a sample of every event that was ever recorded, and fails
// when one can no longer be read or is read otherwise than it was written.
package holdfasttest
