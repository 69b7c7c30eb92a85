package persistence_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A script is a scanner that gives what it is told to.
type script struct {
	partitions []persistence.Partition
	records    []persistence.Record
	unread     uint64
	lost, ends error
	replica    string // that is to be read
}

func (s script) Describe(context.Context) ([]persistence.Partition, error) {
	return s.partitions, s.lost
}

func (s script) Scan(_ context.Context, opts persistence.ScanOptions, each func(persistence.Record) error) (uint64, error) {
	if opts.Replica != s.replica {
		return 0, errors.New("another replica is to be read")
	}
	for _, r := range s.records {
		if err := each(r); err != nil {
			return 0, err
		}
	}
	return s.unread, s.ends
}

// TestVerifyProgress counts what lies behind, over all partitions, while the log grows.
func TestVerifyProgress(t *testing.T) {
	s := script{partitions: []persistence.Partition{{Number: 0, Last: 3}, {Number: 1, Last: 0}, {Number: 2, Last: 2}}}
	for _, at := range [][2]uint64{{0, 1}, {0, 2}, {0, 3}, {2, 1}, {2, 2}, {2, 3}, {2, 4}} {
		s.records = append(s.records, persistence.Record{Position: holdfast.NewPosition(uint32(at[0]), at[1])})
	}
	n, last := uint64(0), uint64(0)
	_, err := persistence.Verify(t.Context(), s, persistence.VerifyConfig{
		Context: "test", Report: func(persistence.Finding) {},
		Progress: func(done, total uint64) {
			if n, last = n+1, total; done != n || total != max(5, n) {
				t.Errorf("after record %d the progress is %d of %d", n, done, total)
			}
		},
	})
	if err != nil || n != 7 || last != 7 {
		t.Errorf("progress ends at %d of %d, %v", n, last, err)
	}
}

// TestVerifyOfAReplica: what is kept elsewhere only is not missed.
func TestVerifyOfAReplica(t *testing.T) {
	s := script{replica: "a", partitions: []persistence.Partition{
		{Number: 0, Last: 3, Replicas: []string{"b", "c"}}, {Number: 1, Last: 2, Replicas: []string{"a", "b"}}, {Number: 2, Last: 1, Replicas: []string{"a"}},
	}}
	for _, at := range [][2]uint64{{1, 1}, {1, 2}, {2, 1}} {
		s.records = append(s.records, persistence.Record{Position: holdfast.NewPosition(uint32(at[0]), at[1])})
	}
	n := uint64(0)
	_, err := persistence.Verify(t.Context(), s, persistence.VerifyConfig{
		Context: "test", Replica: "a",
		Report: func(f persistence.Finding) {
			if f.Fault == persistence.FaultMissing {
				t.Errorf("it finds %+v", f)
			}
		},
		Progress: func(done, total uint64) {
			if n++; done != n || total != 3 {
				t.Errorf("after record %d the progress is %d of %d", n, done, total)
			}
		},
	})
	if err != nil || n != 3 {
		t.Errorf("%d records, %v", n, err)
	}
}

// TestVerifyCutShort: what has not been read is not said to be missing.
func TestVerifyCutShort(t *testing.T) {
	cut := errors.New("cut short")
	for _, s := range []script{
		{lost: cut},
		{partitions: []persistence.Partition{{Last: 5}}, ends: cut},
		{partitions: []persistence.Partition{{Last: 5}}, unread: 5, ends: cut},
	} {
		for _, filter := range []persistence.Filter{{}, {Type: "counter"}} {
			v, err := persistence.Verify(t.Context(), s, persistence.VerifyConfig{
				Context: "test", Filter: filter, Report: func(f persistence.Finding) { t.Errorf("it finds %+v", f) },
			})
			if !errors.Is(err, cut) || v != (persistence.Verified{}) {
				t.Errorf("verified %+v, %v", v, err)
			}
		}
	}
}

// TestVerifyUnread: of a filtered scan it is only known how many are missing.
func TestVerifyUnread(t *testing.T) {
	b := newBook(t)
	b.fill(5, ref("a"))
	b.lose(at(2))
	b.lose(at(3))
	for unread, want := range map[uint64]int{2: 1, 3: 2} { // two are explained
		var findings []persistence.Finding
		s := script{partitions: []persistence.Partition{{Last: b.last}}, records: b.records, unread: unread}
		_, err := persistence.Verify(t.Context(), s, persistence.VerifyConfig{
			Context: "test", Filter: persistence.Filter(ref("a")), Report: func(f persistence.Finding) { findings = append(findings, f) },
		})
		if err != nil || len(findings) != want || findings[want-1].Fault != persistence.FaultMissing || findings[want-1].Ref != ref("a") {
			t.Errorf("%d unread: %+v, %v", unread, findings, err)
		}
	}
}

// TestVerifyUnreadOfAll: what is unread has been found by its place.
func TestVerifyUnreadOfAll(t *testing.T) {
	b := newBook(t)
	b.fill(5, ref("a"))
	b.lose(at(2))
	b.lose(at(5))
	findings := 0
	s := script{partitions: []persistence.Partition{{Last: b.last}}, records: b.records, unread: 2}
	_, err := persistence.Verify(t.Context(), s, persistence.VerifyConfig{Context: "test", Report: func(persistence.Finding) { findings++ }})
	if err != nil || findings != 2 {
		t.Errorf("%d findings, %v, want 2", findings, err)
	}
}

func TestVerifyTheLastIsMissing(t *testing.T) {
	for _, lost := range []uint64{1, 2} {
		b := newBook(t)
		b.fill(3, ref("a"))
		for n := range lost {
			b.lose(at(3 - n))
		}
		b.want(persistence.Finding{Fault: persistence.FaultMissing, Position: at(4 - lost)})
	}
}

// TestVerifyForkAfterAFault has a chain go on after a fault, and then a commit that goes
// on from before the fault.
func TestVerifyForkAfterAFault(t *testing.T) {
	for name, c := range map[string]struct {
		fault persistence.Fault
		spoil func([]byte) []byte
	}{
		"content": {persistence.FaultAltered, otherUser},
		"digest":  {persistence.FaultAltered, otherDigest},
		"junk":    {persistence.FaultUndecodable, func([]byte) []byte { return []byte("junk") }},
	} {
		for _, between := range []int{1, 3} {
			b := newBook(t)
			b.fill(3, ref("a"))
			before := b.heads[ref("a")]
			first := b.commit(ref("a"), c.spoil, event(t, wrapperspb.Int64(1)))
			b.fill(between, ref("a"))
			fork, err := before.Seal("fork", []*messages.Change{{Events: []*messages.Event{event(t, wrapperspb.Int64(1))}}})
			if err != nil {
				t.Fatal(err)
			}
			second := b.put(ref("a"), fork.Body)
			b.fill(3, ref("a"))
			b.want(
				persistence.Finding{Fault: c.fault, Ref: ref("a"), Position: first},
				persistence.Finding{Fault: persistence.FaultMisplaced, Ref: ref("a"), Position: second},
			)
			if t.Failed() {
				t.Fatalf("the fault is in the %s, with %d commits between", name, between)
			}
		}
	}
}

// TestVerifyReplayAfterJunk: what follows junk cannot be checked against it, but it must
// say that it follows it.
func TestVerifyReplayAfterJunk(t *testing.T) {
	b := newBook(t)
	b.fill(3, ref("a"))
	first := b.commit(ref("a"), func([]byte) []byte { return []byte("junk") }, event(t, wrapperspb.Int64(1)))
	second := b.put(ref("a"), b.records[1].Body)
	b.fill(3, ref("a"))
	b.want(
		persistence.Finding{Fault: persistence.FaultUndecodable, Ref: ref("a"), Position: first},
		persistence.Finding{Fault: persistence.FaultMisplaced, Ref: ref("a"), Position: second},
	)
}

// TestVerifyLoop has a commit that says that it follows itself, or one that is still to
// come: it is not taken for one that follows a lost one.
func TestVerifyLoop(t *testing.T) {
	for _, ahead := range []uint64{1, 5} {
		b := newBook(t)
		b.fill(3, ref("a"))
		h := b.heads[ref("a")]
		h.Position = at(b.last + ahead)
		c, err := h.Seal("loop", []*messages.Change{{Events: []*messages.Event{event(t, wrapperspb.Int64(1))}}})
		if err != nil {
			t.Fatal(err)
		}
		p := b.put(ref("a"), c.Body)
		b.want(persistence.Finding{Fault: persistence.FaultAltered, Ref: ref("a"), Position: p})
		if findings, _ := b.verify(persistence.Filter(ref("a"))); len(findings) != 1 || findings[0].Fault != persistence.FaultAltered {
			t.Errorf("alone: %+v", findings)
		}
	}
}

// TestVerifyMisplacedWhereNothingIsMissing puts what follows another aggregate's commit
// where nothing was yet.
func TestVerifyMisplacedWhereNothingIsMissing(t *testing.T) {
	b := newBook(t)
	b.fill(3, ref("a"))
	p := b.put(ref("new"), b.records[1].Body)
	b.want(persistence.Finding{Fault: persistence.FaultMisplaced, Ref: ref("new"), Position: p})
}

// TestVerifyCountsWhatCannotBeDecoded: an aggregate of which nothing can be decoded is one.
func TestVerifyCountsWhatCannotBeDecoded(t *testing.T) {
	b := newBook(t)
	b.fill(2, ref("a"))
	b.put(ref("b"), []byte("junk"))
	if _, v := b.verify(persistence.Filter{}); v.Aggregates != 2 || v.Commits != 3 {
		t.Errorf("verified %+v", v)
	}
}
