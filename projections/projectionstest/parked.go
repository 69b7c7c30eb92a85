package projectionstest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// parked is an event of a key, at that sequence, with all that there is to keep.
func parked(key string, sequence uint64) projections.Parked {
	position := holdfast.NewPosition(0, sequence)
	return projections.Parked{
		Key: key,
		Event: projections.Event{
			ID: fmt.Sprintf("counted/c@%d", sequence), Ref: holdfast.Ref{Type: "counted", ID: "c"}, Version: holdfast.Version(sequence),
			Position: position, Name: "google.protobuf.Int32Value", Time: moment(sequence), Command: "google.protobuf.Int64Value",
			CommandID: "cmd", CorrelationID: "cor", CausationID: "cau", User: "u",
		},
		Record: persistence.Record{Position: position, Subject: "test.log.0.counted.c", Body: fmt.Append(nil, "body ", sequence), Time: moment(sequence + 1)},
		Reason: "it was refused", Since: moment(sequence + 2), Attempts: 3,
	}
}

func wantParked(t testing.TB, s projections.Sink, u projections.Unit, key string, want ...projections.Parked) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	got, err := s.Parked(ctx, u, key, len(want)+10)
	if err != nil {
		t.Fatalf("parked of %q: %v", key, err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d events of %q are parked, want %d", len(got), key, len(want))
	}
	for i := range got {
		if g, w := plain(got[i]), plain(want[i]); !reflect.DeepEqual(g, w) {
			t.Fatalf("parked is %+v, want %+v", g, w)
		}
	}
}

// plain has the times in one zone, and no difference between no bytes and none.
func plain(p projections.Parked) projections.Parked {
	p.Event.Time, p.Record.Time, p.Since = p.Event.Time.UTC(), p.Record.Time.UTC(), p.Since.UTC()
	p.Record.Body = bytes.Clone(append([]byte{}, p.Record.Body...))
	return p
}

func testParked(t *testing.T, s *stage) {
	u := s.unit()
	whole := parked("a", 6) // a record that cannot be read
	whole.Event = projections.Event{ID: "0-6", Ref: whole.Event.Ref, Position: whole.Event.Position, Index: -1}
	second := parked("a", 5)
	second.Event.Index, second.Event.Part, second.Reason, second.Attempts = 2, 1, "", 0
	first := parked("a", 5)
	unread := parked("a", 5) // an event that cannot be
	unread.Event.Index, unread.Event.Part = 3, -1
	commit(t, s.sink, u, 6, func(b projections.Batch) error {
		return errors.Join(b.Park(first), b.Park(second), b.Park(unread), b.Park(parked("b", 6)), b.Park(whole))
	})
	wantParked(t, s.sink, u, "a", first, second, unread, whole)
	wantParked(t, s.sink, u, "b", parked("b", 6))
	wantParked(t, s.sink, u, "c")
	ctx, cancel := within(t)
	defer cancel()
	got, err := s.sink.Parked(ctx, u, "a", 2)
	if err != nil || len(got) != 2 || got[0].Event.Index != 0 || got[1].Event.Index != 2 {
		t.Errorf("the first two are %+v, %v", got, err)
	}
	for _, o := range s.others {
		wantParked(t, o, u, "a", first, second, unread, whole)
	}
	elsewhere := u
	elsewhere.Shard = 1
	wantParked(t, s.sink, elsewhere, "a")
}

// testParkedAgain: the place and the time stay, the reason and the attempts are the new ones.
func testParkedAgain(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 3, func(b projections.Batch) error {
		return errors.Join(b.Park(parked("a", 1)), b.Park(parked("a", 2)), b.Park(parked("a", 3)))
	})
	again := parked("a", 1)
	again.Reason, again.Attempts, again.Since = "it was refused again", 7, moment(100)
	commit(t, s.sink, u, 3, func(b projections.Batch) error { return b.Park(again) }) // the checkpoint need not move
	want := parked("a", 1)
	want.Reason, want.Attempts = again.Reason, again.Attempts
	wantParked(t, s.sink, u, "a", want, parked("a", 2), parked("a", 3))
	commit(t, s.sink, u, 4, func(b projections.Batch) error { // and in one batch
		last := parked("a", 4)
		last.Attempts = 8
		return errors.Join(b.Park(parked("a", 4)), b.Park(last))
	})
	last := parked("a", 4)
	last.Attempts = 8
	wantParked(t, s.sink, u, "a", want, parked("a", 2), parked("a", 3), last)
}

func testParkedOdd(t *testing.T, s *stage) {
	u := s.unit()
	for i, odd := range []string{"", " ", "\x00", "\xff\xfe", "a.b", "*", ">", "$1", "'; --", "é", "order/o=1", strings.Repeat("x", 300)} {
		n := uint64(i + 1)
		p := parked(odd, n)
		p.Event.Ref.ID, p.Event.User, p.Reason = odd, odd, odd+" is the reason"
		commit(t, s.sink, u, n, func(b projections.Batch) error { return b.Park(p) })
		wantParked(t, s.sink, u, odd, p)
		commit(t, s.sink, u, n, func(b projections.Batch) error { return b.Unpark(p, "") })
		wantParked(t, s.sink, u, odd)
	}
}

// testParkedMany: the events of a key come in their order, however many there are.
func testParkedMany(t *testing.T, s *stage) {
	const events = 1200
	u := s.unit()
	var want []projections.Parked
	for from := uint64(1); from <= events; from += events / 2 {
		commit(t, s.sink, u, from+events/2-1, func(b projections.Batch) error {
			for n := from; n < from+events/2; n++ {
				want = append(want, parked("a", n))
				if err := b.Park(parked("a", n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	wantParked(t, s.sink, u, "a", want...)
	commit(t, s.sink, u, events, func(b projections.Batch) error {
		for _, p := range want[:1000] {
			if err := b.Unpark(p, ""); err != nil {
				return err
			}
		}
		return nil
	})
	wantParked(t, s.sink, u, "a", want[1000:]...)
}

func testUnparked(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 3, func(b projections.Batch) error {
		return errors.Join(b.Park(parked("a", 1)), b.Park(parked("a", 2)), b.Park(parked("a", 3)))
	})
	commit(t, s.sink, u, 3, func(b projections.Batch) error { return b.Unpark(parked("a", 1), "") })
	wantParked(t, s.sink, u, "a", parked("a", 2), parked("a", 3))
	commit(t, s.sink, u, 4, func(b projections.Batch) error {
		return errors.Join(b.Unpark(parked("a", 2), "nobody needs it"), b.Park(parked("a", 4)))
	})
	wantParked(t, s.sink, u, "a", parked("a", 3), parked("a", 4))
	wantKeys(t, s.sink, u, 10, "a 2 3")
	commit(t, s.sink, u, 4, func(b projections.Batch) error {
		return errors.Join(b.Unpark(parked("a", 3), ""), b.Unpark(parked("a", 4), ""))
	})
	wantParked(t, s.sink, u, "a")
	wantKeys(t, s.sink, u, 10)
}

// testGone: a batch in which an event is handled, skipped or tried again that is not parked any
// more is fenced: another one has had it.
func testGone(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 2, func(b projections.Batch) error { return errors.Join(b.Park(parked("a", 1)), b.Park(parked("a", 2))) })
	late := projections.Place{Sequence: 1, Drained: true}
	drain := func(b projections.Batch) error {
		return errors.Join(s.add(b, "a", late, 1), b.Unpark(parked("a", 1), ""))
	}
	commit(t, s.sink, u, 2, drain)
	for what, do := range map[string]func(projections.Batch) error{
		"handled": drain,
		"skipped": func(b projections.Batch) error { return b.Unpark(parked("a", 1), "why") },
		"refused": func(b projections.Batch) error { return b.Park(parked("a", 1)) },
		"swallowed": func(b projections.Batch) error {
			_ = b.Unpark(parked("a", 1), "")
			return s.add(b, "a", late, 1)
		},
	} {
		if err := attempt(t, s.sink, u, at(2), at(2), do); !errors.Is(err, projections.ErrFenced) {
			t.Errorf("%s: it returned %v, want ErrFenced", what, err)
		}
	}
	wantCounts(t, s.sink, u, map[string]int64{"a": 1})
	wantParked(t, s.sink, u, "a", parked("a", 2))
}

// wantKeys finds the keys that are parked: "<key> <events> <sequence of the first>".
func wantKeys(t testing.TB, s projections.Sink, u projections.Unit, limit int, want ...string) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	keys, err := s.ParkedKeys(ctx, u.Projection, u.Generation, limit)
	if err != nil {
		t.Fatalf("parked keys: %v", err)
	}
	var got []string
	for _, k := range keys {
		got = append(got, fmt.Sprintf("%s %d %d", k.Key, k.Events, k.First.Event.Position.Sequence()))
		if k.Key != k.First.Key || k.First.Record.Body != nil || k.Unit.Projection != u.Projection || k.Unit.Generation != u.Generation {
			t.Errorf("a parked key is %+v", k)
		}
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Fatalf("parked keys are %q, want %q", got, want)
	}
}

func testParkedKeys(t *testing.T, s *stage) {
	u, other := s.unit(), s.unit()
	other.Shard = 1
	since := func(key string, n, since uint64) projections.Parked {
		p := parked(key, n)
		p.Since = moment(since)
		return p
	}
	commit(t, s.sink, u, 5, func(b projections.Batch) error {
		return errors.Join(b.Park(since("late", 1, 50)), b.Park(since("early", 2, 10)), b.Park(since("late", 3, 55)))
	})
	commit(t, s.sink, other, 4, func(b projections.Batch) error { return b.Park(since("middle", 4, 30)) })
	wantKeys(t, s.sink, u, 10, "early 1 2", "middle 1 4", "late 2 1")
	wantKeys(t, s.sink, u, 2, "early 1 2", "middle 1 4")
	ctx, cancel := within(t)
	defer cancel()
	keys, err := s.sink.ParkedKeys(ctx, u.Projection, 1, 10)
	if err != nil || keys[0].Unit != u || keys[1].Unit != other {
		t.Errorf("the units of %+v are wrong, %v", keys, err)
	}
	first, want := plain(keys[2].First), plain(since("late", 1, 50))
	want.Record.Body = []byte{}
	if !reflect.DeepEqual(first, want) {
		t.Errorf("the first one is %+v, want %+v", first, want)
	}
}

// testParkedLarge: of a record as large as the log takes, at least all but the body is kept.
func testParkedLarge(t *testing.T, s *stage) {
	u := s.unit()
	p := parked("a", 1)
	p.Record.Body = bytes.Repeat([]byte("x"), 1<<20-1000)
	commit(t, s.sink, u, 1, func(b projections.Batch) error { return b.Park(p) })
	ctx, cancel := within(t)
	defer cancel()
	got, err := s.sink.Parked(ctx, u, "a", 1)
	if err != nil || len(got) != 1 {
		t.Fatalf("parked: %d, %v", len(got), err)
	}
	if body := got[0].Record.Body; body != nil && !bytes.Equal(body, p.Record.Body) {
		t.Errorf("the body has %d bytes", len(body))
	}
	got[0].Record.Body, p.Record.Body = nil, nil
	if !reflect.DeepEqual(plain(got[0]), plain(p)) {
		t.Errorf("parked is %+v, want %+v", got[0], p)
	}
}

// testDrained: an event that was parked has its effect once, after later ones have had theirs.
func testDrained(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 9, func(b projections.Batch) error {
		return errors.Join(b.Park(parked("k", 5)), b.Park(parked("k", 7)), s.add(b, "a", place(9), 1))
	})
	for i, n := range []uint64{5, 7} {
		drain := func(b projections.Batch) error {
			return errors.Join(
				s.add(b, "a", projections.Place{Sequence: n, Drained: true}, 10),
				s.add(b, "late", projections.Place{Sequence: n, Drained: true}, 10), b.Unpark(parked("k", n), ""),
			)
		}
		commit(t, s.sink, u, 9, drain)
		wantFenced(t, attempt(t, s.sink, u, at(9), at(9), drain))
		wantCounts(t, s.sink, u, map[string]int64{"a": int64(11 + 10*i), "late": int64(10 + 10*i)})
	}
	commit(t, s.sink, u, 12, func(b projections.Batch) error { return s.add(b, "a", place(12), 1) })
	wantCounts(t, s.sink, u, map[string]int64{"a": 22, "late": 20})
	wantKeys(t, s.sink, u, 10)
}
