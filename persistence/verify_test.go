package persistence_test

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A book is a log that tests write and damage.
type book struct {
	t       *testing.T
	records []persistence.Record
	last    uint64
	heads   map[holdfast.Ref]persistence.Head
}

func newBook(t *testing.T) *book { return &book{t: t, heads: map[holdfast.Ref]persistence.Head{}} }

func ref(id string) holdfast.Ref { return holdfast.Ref{Type: "counter", ID: id} }

// put stores a body under the subject of an aggregate.
func (b *book) put(of holdfast.Ref, body []byte) holdfast.Position {
	b.t.Helper()
	sub, err := persistence.LogSubject("test", of, 1)
	if err != nil {
		b.t.Fatal(err)
	}
	b.last++
	p := holdfast.NewPosition(0, b.last)
	b.records = append(b.records, persistence.Record{Position: p, Subject: sub.String(), Body: body})
	return p
}

// commit appends a commit of events, as an actor does; spoil may change it on its way to
// the log, without the actor's knowing.
func (b *book) commit(of holdfast.Ref, spoil func([]byte) []byte, events ...*messages.Event) holdfast.Position {
	b.t.Helper()
	h, ok := b.heads[of]
	if !ok {
		h = newHead(b.t, of)
	}
	c, err := h.Seal(fmt.Sprint(b.last), []*messages.Change{{CommandId: "c", User: "ada", Events: events}})
	if err != nil {
		b.t.Fatal(err)
	}
	body := bytes.Clone(c.Body)
	if spoil != nil {
		body = spoil(body)
	}
	c.Position = b.put(of, body)
	b.heads[of] = c.Head()
	return c.Position
}

// fill appends good commits, one a round to each aggregate.
func (b *book) fill(rounds int, of ...holdfast.Ref) {
	b.t.Helper()
	for range rounds {
		for _, r := range of {
			b.commit(r, nil, event(b.t, wrapperspb.Int64(1)))
		}
	}
}

// lose takes the record at a position away.
func (b *book) lose(p holdfast.Position) {
	for i, r := range b.records {
		if r.Position == p {
			b.records = append(b.records[:i], b.records[i+1:]...)
			return
		}
	}
}

func (b *book) verify(filter persistence.Filter) ([]persistence.Finding, persistence.Verified) {
	b.t.Helper()
	var findings []persistence.Finding
	v := persistence.NewVerifier(persistence.VerifyConfig{
		Context: "test", Partitions: 1, Filter: filter,
		Definitions: map[string]holdfast.Definition{"counter": counterType},
		Report:      func(f persistence.Finding) { findings = append(findings, f) },
	})
	for _, r := range b.records {
		v.Add(r)
	}
	v.End(persistence.Partition{Last: b.last})
	return findings, v.Verified()
}

// want checks the findings, in order.
func (b *book) want(want ...persistence.Finding) {
	b.t.Helper()
	got, v := b.verify(persistence.Filter{})
	if v.Findings != uint64(len(got)) || len(got) != len(want) {
		b.t.Fatalf("%d findings are counted and these reported: %+v, want %+v", v.Findings, got, want)
	}
	for i := range got {
		if got[i].Fault != want[i].Fault || got[i].Ref != want[i].Ref || got[i].Position != want[i].Position || got[i].What == "" {
			b.t.Errorf("finding %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

func at(sequence uint64) holdfast.Position { return holdfast.NewPosition(0, sequence) }

// otherUser alters a commit so that it can still be decoded.
func otherUser(b []byte) []byte {
	b[bytes.Index(b, []byte("ada"))] ^= 1
	return b
}

// otherDigest alters the digest alone.
func otherDigest(b []byte) []byte {
	b[len(b)-1] ^= 1
	return b
}

func TestVerifyFindsNothingInAGoodLog(t *testing.T) {
	b := newBook(t)
	b.want()
	b.fill(50, ref("a"), ref("b"), ref("c"))
	b.commit(ref("a"), nil)
	b.commit(ref("a"), nil, event(t, wrapperspb.Int32(1)), event(t, wrapperspb.Int64(2)))
	b.want()
	_, v := b.verify(persistence.Filter{})
	if v != (persistence.Verified{Commits: 152, Events: 152, Aggregates: 3}) {
		t.Errorf("verified %+v", v)
	}
	_, v = b.verify(persistence.Filter{Type: "counter", ID: "b"})
	if v != (persistence.Verified{Commits: 50, Events: 50, Aggregates: 1}) {
		t.Errorf("verified of one aggregate %+v", v)
	}
}

// TestVerifyOneFindingAFault has one fault in the middle of a chain that goes on after
// it, and at its beginning and end.
func TestVerifyOneFindingAFault(t *testing.T) {
	junk := func([]byte) []byte { return []byte("junk") }
	for name, c := range map[string]struct {
		fault persistence.Fault
		spoil func([]byte) []byte
	}{
		"a flipped byte of the content": {persistence.FaultAltered, otherUser},
		"a flipped byte of the digest":  {persistence.FaultAltered, otherDigest},
		"junk":                          {persistence.FaultUndecodable, junk},
		"nothing":                       {persistence.FaultUndecodable, func([]byte) []byte { return nil }},
	} {
		for _, before := range []int{0, 1, 40} {
			for _, after := range []int{0, 1, 40} {
				t.Run(fmt.Sprintf("%s after %d before %d", name, before, after), func(t *testing.T) {
					b := newBook(t)
					b.fill(before, ref("a"), ref("b"))
					p := b.commit(ref("a"), c.spoil, event(t, wrapperspb.Int64(1)))
					b.fill(after, ref("a"), ref("b"))
					b.want(persistence.Finding{Fault: c.fault, Ref: ref("a"), Position: p})
				})
			}
		}
	}
}

func TestVerifyTwoFaultsAreTwoFindings(t *testing.T) {
	b := newBook(t)
	b.fill(3, ref("a"))
	first := b.commit(ref("a"), otherUser, event(t, wrapperspb.Int64(1)))
	b.fill(3, ref("a"))
	second := b.commit(ref("a"), otherUser, event(t, wrapperspb.Int64(1)))
	third := b.commit(ref("a"), otherUser, event(t, wrapperspb.Int64(1)))
	b.fill(3, ref("a"))
	b.want(
		persistence.Finding{Fault: persistence.FaultAltered, Ref: ref("a"), Position: first},
		persistence.Finding{Fault: persistence.FaultAltered, Ref: ref("a"), Position: second},
		persistence.Finding{Fault: persistence.FaultAltered, Ref: ref("a"), Position: third},
	)
}

func TestVerifyMissing(t *testing.T) {
	b := newBook(t)
	b.fill(10, ref("a"), ref("b"), ref("c"))
	for _, n := range []uint64{4, 11, 12, 14, 15} { // a's second; b's and c's fourth; b's and c's fifth
		b.lose(at(n))
	}
	b.want(
		persistence.Finding{Fault: persistence.FaultMissing, Ref: ref("a"), Position: at(4)},
		persistence.Finding{Fault: persistence.FaultMissing, Ref: ref("b"), Position: at(11)},
		persistence.Finding{Fault: persistence.FaultMissing, Ref: ref("c"), Position: at(12)},
	)
	for _, id := range []string{"a", "b", "c"} {
		findings, _ := b.verify(persistence.Filter{Type: "counter", ID: id})
		if len(findings) != 1 || findings[0].Fault != persistence.FaultMissing || findings[0].Ref != ref(id) {
			t.Errorf("%s alone: %+v", id, findings)
		}
	}
	// The first of one, and the last of all three, of which nothing tells.
	b.lose(at(1))
	for _, n := range []uint64{28, 29, 30} {
		b.lose(at(n))
	}
	b.want(
		persistence.Finding{Fault: persistence.FaultMissing, Ref: ref("a"), Position: at(1)},
		persistence.Finding{Fault: persistence.FaultMissing, Ref: ref("b"), Position: at(11)},
		persistence.Finding{Fault: persistence.FaultMissing, Ref: ref("c"), Position: at(12)},
		persistence.Finding{Fault: persistence.FaultMissing, Position: at(28)},
	)
}

func TestVerifyManyMissing(t *testing.T) {
	b := newBook(t)
	b.fill(200, ref("a"))
	b.fill(1, ref("b"))
	for n := range uint64(100) { // more than a trail tells of
		b.lose(at(51 + n))
	}
	b.want(
		persistence.Finding{Fault: persistence.FaultMissing, Ref: ref("a"), Position: at(118)},
		persistence.Finding{Fault: persistence.FaultMissing, Position: at(51)},
	)
}

func TestVerifyMisplaced(t *testing.T) {
	b := newBook(t)
	b.fill(5, ref("a"), ref("b"))
	body := func(n int) []byte { return b.records[n].Body }
	first := b.put(ref("b"), body(0))  // a's first
	fourth := b.put(ref("b"), body(6)) // a's fourth
	again := b.put(ref("a"), body(8))  // its own last, again
	b.fill(5, ref("a"), ref("b"))
	wrong := persistence.Record{Position: holdfast.NewPosition(0, b.last+1), Body: body(0)}
	for range 4 {
		b.last++
	}
	for i, subject := range []string{"test.log.0.counter", "other.log.0.counter.a", "test.snap.counter.a", "test.log.1.counter.a"} {
		r := wrong
		r.Subject = subject
		r.Position = holdfast.NewPosition(0, wrong.Position.Sequence()+uint64(i))
		b.records = append(b.records, r)
	}
	misplaced := func(of holdfast.Ref, p holdfast.Position) persistence.Finding {
		return persistence.Finding{Fault: persistence.FaultMisplaced, Ref: of, Position: p}
	}
	p := wrong.Position.Sequence()
	b.want(
		misplaced(ref("b"), first), misplaced(ref("b"), fourth), misplaced(ref("a"), again),
		misplaced(holdfast.Ref{}, at(p)), misplaced(holdfast.Ref{}, at(p+1)), misplaced(holdfast.Ref{}, at(p+2)), misplaced(ref("a"), at(p+3)),
	)

	b = newBook(t)
	b.fill(1, ref("a"))
	p2 := b.put(ref("new"), b.records[0].Body) // where nothing was yet
	b.want(persistence.Finding{Fault: persistence.FaultAltered, Ref: ref("new"), Position: p2})
}

// TestVerifyWrongPartition has good chains in partitions that are not theirs.
func TestVerifyWrongPartition(t *testing.T) {
	const partitions = 4
	id, err := messages.EncodeID("a")
	if err != nil {
		t.Fatal(err)
	}
	right := messages.PartitionOf("counter", id, partitions)
	for stream := range uint32(partitions) {
		for subject := range uint32(partitions) {
			var findings []persistence.Finding
			v := persistence.NewVerifier(persistence.VerifyConfig{
				Context: "test", Partitions: partitions, Report: func(f persistence.Finding) { findings = append(findings, f) },
			})
			c := chain(t, ref("a"), 1)[0]
			v.Add(persistence.Record{
				Position: holdfast.NewPosition(stream, 1), Body: c.Body,
				Subject: messages.Subject{Context: "test", Kind: messages.KindLog, Partition: subject, Type: "counter", ID: id}.String(),
			})
			good := stream == right && subject == right
			if good != (len(findings) == 0) || !good && findings[0].Fault != persistence.FaultMisplaced {
				t.Errorf("in partition %d under subject %d, where %d is right: %+v", stream, subject, right, findings)
			}
		}
	}
}

func TestVerifyEvents(t *testing.T) {
	b := newBook(t)
	good := func() *messages.Event { return event(t, wrapperspb.Int64(1)) }
	broken, other := good(), event(t, durationpb.New(1))
	broken.Data = []byte{8}
	unknown := holdfast.Ref{Type: "unknown", ID: "a"}
	b.fill(1, ref("a"))
	one := b.commit(ref("a"), nil, good(), broken, broken, good())
	two := b.commit(ref("b"), nil, other)
	b.commit(ref("a"), nil, other, other) // known already
	three := b.commit(ref("a"), nil, event(t, wrapperspb.Int32(-1)))
	four := b.commit(unknown, nil, good())
	b.commit(unknown, nil, good())
	b.fill(1, ref("a"), ref("b"))
	b.want(
		persistence.Finding{Fault: persistence.FaultUnreadable, Ref: ref("a"), Position: one},
		persistence.Finding{Fault: persistence.FaultUnreadable, Ref: ref("b"), Position: two},
		persistence.Finding{Fault: persistence.FaultUnreadable, Ref: ref("a"), Position: three},
		persistence.Finding{Fault: persistence.FaultUnknownType, Ref: unknown, Position: four},
	)
	n := 0
	v := persistence.NewVerifier(persistence.VerifyConfig{Context: "test", Partitions: 1, Report: func(persistence.Finding) { n++ }})
	for _, r := range b.records {
		v.Add(r)
	}
	if n > 0 {
		t.Errorf("without definitions there are %d findings", n)
	}
}

func TestFilter(t *testing.T) {
	a := holdfast.Ref{Type: "order", ID: "a"}
	for f, want := range map[persistence.Filter]bool{
		{}: true, {Type: "order"}: true, {Type: "order", ID: "a"}: true,
		{Type: "order", ID: "b"}: false, {Type: "orders"}: false, {Type: "stock", ID: "a"}: false,
	} {
		if f.Match(a) != want || f.Check() != nil {
			t.Errorf("%+v matches %s: %t, %v", f, a, f.Match(a), f.Check())
		}
	}
	if (persistence.Filter{ID: "a"}).Check() == nil {
		t.Error("an id without a type is taken")
	}
}

// TestVerifyEveryByte flips every bit of a commit in the middle of a chain, one at a
// time: each is found, once.
func TestVerifyEveryByte(t *testing.T) {
	size := 1
	for i := 0; i < 8*size; i++ {
		b := newBook(t)
		b.fill(4, ref("a"), ref("b"))
		p := b.commit(ref("a"), func(body []byte) []byte {
			size = len(body)
			body[i/8] ^= 1 << (i % 8)
			return body
		}, event(t, wrapperspb.Int64(1)))
		b.fill(4, ref("a"), ref("b"))
		var findings []persistence.Finding
		v := persistence.NewVerifier(persistence.VerifyConfig{
			Context: "test", Partitions: 1, Report: func(f persistence.Finding) { findings = append(findings, f) },
		})
		for _, r := range b.records {
			v.Add(r)
		}
		v.End(persistence.Partition{Last: b.last})
		if len(findings) != 1 || findings[0].Position != p || findings[0].Ref != ref("a") {
			t.Fatalf("bit %d: findings are %+v, want one at %s", i, findings, p)
		}
	}
}
