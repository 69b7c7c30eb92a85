package bench

import (
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// TestCountSagas: a saga counts when it has come to its end, and only if that was the good one.
func TestCountSagas(t *testing.T) {
	t.Parallel()
	s, err := newStage(t.Context(), modes[1], t.TempDir(), setting{members: 1, lease: smallLease, host: actors.Config{Types: []holdfast.Definition{shares.Type()}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	watch, err := s.runSagas(t.Context(), shares)
	if err != nil {
		t.Fatal(err)
	}
	send := func(to holdfast.Ref, c holdfast.Command) {
		t.Helper()
		if _, err := s.members[0].Send(t.Context(), to, c); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range idsOf(3) {
		send(account(id), &bankpb.OpenAccount{Owner: "ada"})
	}
	begin := func(id string) {
		t.Helper()
		over := watch.expect(id)
		send(holdfast.Ref{Type: shares.Name(), ID: id}, share{"a-0", "a-1", "a-2"}.sharedOut())
		<-over
	}
	send(account("a-0"), &bankpb.Deposit{Amount: 2})
	begin("rich")
	if n, err := s.countSagas(t.Context(), shares); n != 1 || err != nil {
		t.Errorf("a completed one: got %d, %v", n, err)
	}
	begin("poor")
	if _, err := s.countSagas(t.Context(), shares); err == nil || !strings.Contains(err.Error(), "1 of 2 sagas are not completed") {
		t.Errorf("one that could not pay: got %v", err)
	}
	for _, stop := range s.stops {
		if err := stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	send(holdfast.Ref{Type: shares.Name(), ID: "stopped"}, share{"a-0", "a-1", "a-2"}.sharedOut())
	if _, err := s.countSagas(t.Context(), shares); err == nil || !strings.Contains(err.Error(), "the saga stopped has ended 0 times") {
		t.Errorf("one that is not over: got %v", err)
	}
}
