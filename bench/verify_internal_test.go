package bench

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// startStage starts one on which some accounts have been paid into.
func startStage(t *testing.T) (*stage, map[string]tally) {
	t.Helper()
	s, err := newStage(t.Context(), modes[1], t.TempDir(), setting{members: 1, lease: smallLease})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	want := map[string]tally{}
	for _, id := range idsOf(3) {
		if _, err := s.members[0].Send(t.Context(), account(id), &bankpb.OpenAccount{Owner: "ada"}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := s.members[0].Send(t.Context(), account(id), &bankpb.Deposit{Amount: 1}); err != nil {
				t.Fatal(err)
			}
		}
		want[id] = tally{events: 3, balance: 2}
	}
	return s, want
}

// TestVerify: what was answered has to be in the log, and nothing else.
func TestVerify(t *testing.T) {
	t.Parallel()
	s, want := startStage(t)
	if err := s.verify(t.Context(), want); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		name, says string
		change     func(map[string]tally)
	}{
		{"an answer that is not in the log", "4 events and a balance of 3 were answered", func(w map[string]tally) { w["a-1"] = tally{4, 3} }},
		{"an event that nobody was answered", "2 events and a balance of 1 were answered", func(w map[string]tally) { w["a-1"] = tally{2, 1} }},
		{"a balance that does not add up", "a balance of 7 were answered", func(w map[string]tally) { w["a-1"] = tally{3, 7} }},
		{"an account that is not in the log", "the log has 3 accounts, and 4 were opened", func(w map[string]tally) { w["a-9"] = tally{1, 0} }},
		{"an account that nobody opened", "the log has 3 accounts, and 2 were opened", func(w map[string]tally) { delete(w, "a-1") }},
	} {
		wrong := maps.Clone(want)
		c.change(wrong)
		if err := s.verify(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.says)
		}
	}
}

// TestVerifyPlain: the raw side is held to the same.
func TestVerifyPlain(t *testing.T) {
	t.Parallel()
	s, _ := startStage(t)
	p, err := newPlain(t.Context(), s, 100, 2)
	if err != nil {
		t.Fatal(err)
	}
	turns, err := p.publishers(4, subjects(evenly(idsOf(2)), p.subjectOf)) // which have to wait for one another
	if err != nil {
		t.Fatal(err)
	}
	for _, turn := range turns {
		if s, err := measured(t.Context(), turn, 20*time.Millisecond); err != nil || s.Ops == 0 || s.Ops != len(s.Times) {
			t.Errorf("%s: %d operations, %d times, %v", s.By, s.Ops, len(s.Times), err)
		}
	}
	if err := p.verify(t.Context()); err != nil {
		t.Error(err)
	}
	p.acked.Add(1)
	if err := p.verify(t.Context()); err == nil || !strings.Contains(err.Error(), "were acknowledged") {
		t.Errorf("one too many: got %v", err)
	}
}

// TestConflict: a raw side that is refused ends with an error, and not with a figure.
func TestConflict(t *testing.T) {
	t.Parallel()
	s, _ := startStage(t)
	p, err := newPlain(t.Context(), s, 100, 2)
	if err != nil {
		t.Fatal(err)
	}
	stale := func(*rand.Rand) func() *subject {
		return func() *subject { return fresh("always-the-same") }
	}
	pipelined := p.pipelined(p.conns[0], 2, stale)
	synchronous, err := p.synchronous(p.conns[1], 2, stale)
	if err != nil {
		t.Fatal(err)
	}
	asynchronous, err := p.asynchronous(p.conns[1], 2, stale)
	if err != nil {
		t.Fatal(err)
	}
	for name, turn := range map[string]turn{"pipelined": pipelined, "synchronous": synchronous, "asynchronous": asynchronous} {
		var err error
		for end := time.Now().Add(time.Minute); err == nil && time.Now().Before(end); { // the first publish is no conflict
			_, err = turn(t.Context(), 50*time.Millisecond)
		}
		if err == nil || !strings.Contains(err.Error(), "wrong last sequence") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestFailure: an operation that fails ends the turn of all callers.
func TestFailure(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	begin := time.Now()
	_, err := crowd[string]{8, evenly(idsOf(1))}.run(t.Context(), time.Hour, "x", func(caller int, _ string) error {
		if caller == 3 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || time.Since(begin) > time.Minute {
		t.Errorf("got %v", err)
	}
}

// TestEnded: a turn that is ended from outside has not failed.
func TestEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := crowd[string]{2, evenly(idsOf(1))}.run(ctx, time.Hour, "x", func(int, string) error {
		cancel()
		return nil
	})
	if err != nil || s.Ops == 0 {
		t.Errorf("got %d operations, %v", s.Ops, err)
	}
}

// TestPickers: all sides are asked for the same, in every turn.
func TestPickers(t *testing.T) {
	t.Parallel()
	ids := idsOf(100)
	for name, pick := range map[string]picker[string]{"evenly": evenly(ids), "unevenly": unevenly(ids)} {
		a, b := pick(dice(1)), pick(dice(1))
		counts := map[string]int{}
		for range 10_000 {
			x := a()
			if counts[x]++; x != b() {
				t.Fatalf("%s: two turns are asked for different things", name)
			}
		}
		most := 0
		for _, n := range counts {
			most = max(most, n)
		}
		if uneven := most > 1000; uneven != (name == "unevenly") {
			t.Errorf("%s: one of 100 is picked %d times of 10,000", name, most)
		}
	}
}

// TestRestore: what is loaded has to be what was written.
func TestRestore(t *testing.T) {
	t.Parallel()
	s, _ := startStage(t)
	h := newHistory(s)
	for range 3 {
		if err := h.append("x", "y"); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.restore(t.Context(), "x", ""); err != nil {
		t.Error(err)
	}
	if err := h.restore(t.Context(), "x", bank.Account.Fingerprint()); err == nil {
		t.Error("a snapshot that is not there is not missed")
	}
	if err := h.snapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if err := h.restore(t.Context(), "x", bank.Account.Fingerprint()); err != nil {
		t.Error(err)
	}
	before := h.heads["y"]
	if err := h.append("y"); err != nil {
		t.Fatal(err)
	}
	h.heads["y"] = before
	if err := h.restore(t.Context(), "y", ""); err == nil || !strings.Contains(err.Error(), "got version 4") {
		t.Errorf("one event too many: got %v", err)
	}
}
