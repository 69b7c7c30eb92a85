package persistencetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// scan reads what matches, each partition in its order.
func scan(t testing.TB, s persistence.Scanner, opts persistence.ScanOptions) []persistence.Record {
	t.Helper()
	var got []persistence.Record
	var unread uint64
	err := patiently(func() (err error) {
		got = nil
		unread, err = s.Scan(t.Context(), opts, func(r persistence.Record) error {
			if n := len(got); n > 0 && got[n-1].Position.Partition() == r.Position.Partition() && !got[n-1].Position.Before(r.Position) {
				t.Fatalf("record %s comes after %s", r.Position, got[n-1].Position)
			}
			got = append(got, r)
			return nil
		})
		return err
	})
	if err != nil || unread > 0 {
		t.Fatalf("scan: %d unread, %v", unread, err)
	}
	return got
}

func testScan(t *testing.T, l *Log) {
	s := l.Store.(persistence.Scanner)
	if got := scan(t, s, persistence.ScanOptions{}); len(got) != 0 {
		t.Fatalf("an empty log has %d records", len(got))
	}
	refs := []holdfast.Ref{{Type: "scan", ID: "a.1"}, {Type: "scan", ID: "a-1"}, {Type: "scan2", ID: "a-1"}}
	heads := make([]persistence.Head, len(refs))
	commits := map[holdfast.Ref][]persistence.Commit{}
	for range 30 {
		for i, ref := range refs {
			heads[i] = addMany(t, l.Store, ref, heads[i], 1)
		}
	}
	for _, ref := range refs {
		commits[ref] = all(t, l.Store, ref)
	}
	wantDescribed(t, s, commits)
	var last []holdfast.Position
	for _, c := range []struct {
		filter persistence.Filter
		refs   []holdfast.Ref
	}{
		{persistence.Filter{}, refs},
		{persistence.Filter{Type: "scan"}, refs[:2]},
		{persistence.Filter{Type: "scan", ID: "a.1"}, refs[:1]},
		{persistence.Filter{Type: "scan2", ID: "a-1"}, refs[2:]},
		{persistence.Filter{Type: "scan", ID: "a"}, nil},
		{persistence.Filter{Type: "sca"}, nil},
	} {
		got := scan(t, s, persistence.ScanOptions{Filter: c.filter})
		want := 0
		for _, ref := range c.refs {
			want += len(commits[ref])
		}
		if len(got) != want {
			t.Fatalf("%+v matches %d records, want %d", c.filter, len(got), want)
		}
		for _, r := range got {
			wantRecord(t, r, commits)
		}
		for p := range l.partitions() { // the last of each partition
			var at holdfast.Position
			for _, r := range got {
				if r.Position.Partition() == p {
					at = r.Position
				}
			}
			last = append(last, at)
		}
		if rest := scan(t, s, persistence.ScanOptions{Filter: c.filter, After: last}); len(rest) != 0 {
			t.Fatalf("%+v: %d records after the last", c.filter, len(rest))
		}
		last = nil
	}
	testScanAfter(t, s, commits[refs[0]])
	testScanReplicas(t, s)
	testScanEnds(t, s)
}

// testScanReplicas reads each replica, if there are several: each has everything.
func testScanReplicas(t *testing.T, s persistence.Scanner) {
	partitions := describe(t, s)
	for _, filter := range []persistence.Filter{{}, {Type: "scan2"}} {
		want := scan(t, s, persistence.ScanOptions{Filter: filter})
		for _, replica := range partitions[0].Replicas {
			got := scan(t, s, persistence.ScanOptions{Filter: filter, Replica: replica})
			if !slices.EqualFunc(got, want, func(a, b persistence.Record) bool { return a.Position == b.Position && bytes.Equal(a.Body, b.Body) }) {
				t.Fatalf("%s gives %d records of %+v, want the same %d", replica, len(got), filter, len(want))
			}
		}
	}
	wantCode(t, patiently(func() error {
		_, err := s.Scan(t.Context(), persistence.ScanOptions{Replica: "none such"}, nil)
		return err
	}), holdfast.CodeMalformed)
}

// describe describes, which must succeed.
func describe(t testing.TB, s persistence.Scanner) (partitions []persistence.Partition) {
	t.Helper()
	err := patiently(func() (err error) {
		partitions, err = s.Describe(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return partitions
}

func (l *Log) partitions() uint32 {
	if s, ok := l.Store.(interface{ Partitions() uint32 }); ok {
		return s.Partitions()
	}
	return 1
}

func wantRecord(t testing.TB, r persistence.Record, commits map[holdfast.Ref][]persistence.Commit) {
	t.Helper()
	sub, err := messages.ParseSubject(r.Subject)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commits[holdfast.Ref{Type: sub.Type, ID: sub.ID.Raw()}] {
		if c.Position == r.Position && bytes.Equal(c.Body, r.Body) {
			return
		}
	}
	t.Fatalf("the record at %s of %s was never appended", r.Position, r.Subject)
}

func testScanAfter(t *testing.T, s persistence.Scanner, commits []persistence.Commit) {
	filter := persistence.Filter{Type: "scan", ID: "a.1"}
	for _, i := range []int{0, 1, 28} {
		got := scan(t, s, persistence.ScanOptions{Filter: filter, After: []holdfast.Position{commits[i].Position}})
		if len(got) != len(commits)-i-1 || got[0].Position != commits[i+1].Position {
			t.Fatalf("after the commit %d of %d: %d records from %s", i, len(commits), len(got), got[0].Position)
		}
	}
	beyond := holdfast.NewPosition(commits[0].Position.Partition(), 1_000_000)
	if got := scan(t, s, persistence.ScanOptions{Filter: filter, After: []holdfast.Position{beyond}}); len(got) != 0 {
		t.Fatalf("beyond the end there are %d records", len(got))
	}
}

// wantDescribed checks what the scanner says of the whole log.
func wantDescribed(t testing.TB, s persistence.Scanner, commits map[holdfast.Ref][]persistence.Commit) {
	t.Helper()
	partitions := describe(t, s)
	want := make([]persistence.Partition, len(partitions))
	for _, all := range commits {
		for _, c := range all {
			p := &want[c.Position.Partition()]
			p.Commits++
			p.Bytes += uint64(len(c.Body))
			p.Last = max(p.Last, c.Position.Sequence())
		}
	}
	for i, got := range partitions {
		if got.Number != uint32(i) || got.Commits != want[i].Commits || got.Last != want[i].Last || got.Bytes < want[i].Bytes {
			t.Fatalf("partition %d is described as %+v, want %+v", i, got, want[i])
		}
	}
}

func testScanEnds(t *testing.T, s persistence.Scanner) {
	enough := errors.New("enough")
	n := 0
	err := patiently(func() error {
		_, err := s.Scan(t.Context(), persistence.ScanOptions{}, func(persistence.Record) error {
			n++
			return enough
		})
		return err
	})
	if !errors.Is(err, enough) || n != 1 {
		t.Fatalf("a scan that was to end after 1 record gave %d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err = s.Scan(ctx, persistence.ScanOptions{}, func(persistence.Record) error {
		cancel()
		return nil
	})
	wantCode(t, err, holdfast.CodeUnavailable)
	_, err = s.Scan(t.Context(), persistence.ScanOptions{Filter: persistence.Filter{ID: "a"}}, nil)
	wantCode(t, err, holdfast.CodeMalformed)
}

func verify(t testing.TB, l *Log, filter persistence.Filter) (persistence.Verified, []persistence.Finding) {
	t.Helper()
	var findings []persistence.Finding
	var done, total uint64
	var v persistence.Verified
	err := patiently(func() (err error) {
		findings = nil
		v, err = persistence.Verify(t.Context(), l.Store.(persistence.Scanner), persistence.VerifyConfig{
			Context: l.Context, Filter: filter,
			Report:   func(f persistence.Finding) { findings = append(findings, f) },
			Progress: func(d, of uint64) { done, total = d, of },
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if done > total || filter.All() && done == 0 {
		t.Errorf("progress ends at %d of %d", done, total)
	}
	if v.Findings != uint64(len(findings)) {
		t.Errorf("%d findings are counted, %d were reported", v.Findings, len(findings))
	}
	return v, findings
}

// A spoiler damages the log that testVerify reads, and knows what must be found.
type spoiler struct {
	l     *Log
	heads map[holdfast.Ref]persistence.Head
	want  []persistence.Finding
}

// expect wants one more finding than before: of the whole log, and of the aggregate alone.
func (s *spoiler) expect(t testing.TB, fault persistence.Fault, ref holdfast.Ref, at holdfast.Position) {
	t.Helper()
	s.want = append(s.want, persistence.Finding{Fault: fault, Ref: ref, Position: at})
	_, findings := verify(t, s.l, persistence.Filter{})
	wantFindings(t, findings, s.want)
	if ref == (holdfast.Ref{}) {
		return
	}
	if _, findings = verify(t, s.l, persistence.Filter(ref)); len(findings) != 1 {
		t.Fatalf("%s alone has the findings %+v, want one", ref, findings)
	}
}

// damage puts a spoiled commit, and good ones after it as if nothing were wrong.
func (s *spoiler) damage(t testing.TB, ref holdfast.Ref, spoil func([]byte) []byte) holdfast.Position {
	t.Helper()
	c := seal(t, s.heads[ref], change("damaged", "x"))
	at := s.l.Put(t, ref, spoil(bytes.Clone(c.Body)))
	c.Position = at
	h := c.Head()
	for range 3 {
		next := seal(t, h, change("next", "x"))
		next.Position = s.l.Put(t, ref, next.Body)
		h = next.Head()
	}
	return at
}

// testVerify damages a log in one way after the other, and wants one finding for each.
func testVerify(t *testing.T, l *Log) {
	const aggregates, commits = 6, 8
	ref := func(i int) holdfast.Ref { return holdfast.Ref{Type: "verify", ID: fmt.Sprint(i)} }
	s := &spoiler{l: l, heads: map[holdfast.Ref]persistence.Head{}}
	for range commits {
		for i := range aggregates {
			s.heads[ref(i)] = addMany(t, l.Store, ref(i), s.heads[ref(i)], 1)
		}
	}
	v, findings := verify(t, l, persistence.Filter{})
	if len(findings) != 0 || v.Commits != aggregates*commits || v.Events != v.Commits || v.Aggregates != aggregates {
		t.Fatalf("a good log: %+v with the findings %+v", v, findings)
	}
	v, findings = verify(t, l, persistence.Filter(ref(2)))
	if len(findings) != 0 || v.Commits != commits || v.Aggregates != 1 {
		t.Fatalf("one aggregate: %+v with the findings %+v", v, findings)
	}

	flip := func(back int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[len(b)-back] ^= 1
			return b
		}
	}
	s.expect(t, persistence.FaultAltered, ref(0), s.damage(t, ref(0), flip(40)))
	s.expect(t, persistence.FaultAltered, ref(1), s.damage(t, ref(1), flip(1))) // the digest itself
	s.expect(t, persistence.FaultUndecodable, ref(2), s.damage(t, ref(2), func([]byte) []byte { return []byte("no commit") }))
	foreign := all(t, l.Store, ref(4))[0]
	s.expect(t, persistence.FaultMisplaced, ref(3), l.Put(t, ref(3), foreign.Body))
	h := addMany(t, l.Store, ref(6), persistence.Head{}, 3) // two commits that follow the same one
	l.Put(t, ref(6), seal(t, h, change("good", "x")).Body)
	s.expect(t, persistence.FaultMisplaced, ref(6), l.Put(t, ref(6), seal(t, h, change("fork", "x")).Body))
	if l.Lose == nil {
		return
	}
	at := all(t, l.Store, ref(4))[3].Position
	l.Lose(t, ref(4), at)
	s.expect(t, persistence.FaultMissing, ref(4), at)
	l.Lose(t, ref(5), s.heads[ref(5)].Position) // the last: nothing tells whose it was
	s.expect(t, persistence.FaultMissing, holdfast.Ref{}, s.heads[ref(5)].Position)
}

func wantFindings(t testing.TB, got, want []persistence.Finding) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d findings %+v, want %d", len(got), got, len(want))
	}
	for _, w := range want {
		found := false
		for _, g := range got {
			found = found || g.Fault == w.Fault && g.Ref == w.Ref && g.Position == w.Position && g.What != ""
		}
		if !found {
			t.Fatalf("findings %+v, want one of %+v", got, w)
		}
	}
}
