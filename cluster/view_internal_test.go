package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast"
)

const placed = 30_000

// crowd gives members with random ids, as nodes have them, and refs with ids of both kinds:
// random ones and numbered ones.
func crowd(n int) (members []member, refs []holdfast.Ref) {
	dice := rand.New(rand.NewPCG(uint64(n), 11))
	for range n {
		members = append(members, up(fmt.Sprintf("%016X%010X", dice.Uint64(), dice.Uint32())))
	}
	for i := range placed {
		id := fmt.Sprint("o-", i)
		if i%2 == 0 {
			id = fmt.Sprintf("%016x%016x", dice.Uint64(), dice.Uint64())
		}
		refs = append(refs, holdfast.Ref{Type: "order", ID: id})
	}
	return members, refs
}

func up(id string, change ...func(*member)) member {
	m := member{record: record{ID: id, State: stateUp, Since: 1, Settled: 9}, revision: 9}
	for _, f := range change {
		f(&m)
	}
	return m
}

func draining(m *member) { m.State = stateDraining }

func hosts(types ...string) func(*member) { return func(m *member) { m.Types = types } }

func since(r uint64) func(*member) { return func(m *member) { m.Since = r } }

func settled(r uint64, holding ...string) func(*member) {
	return func(m *member) { m.Settled, m.Holding = r, holding }
}

func TestPlacementIsEven(t *testing.T) {
	for _, n := range []int{3, 5, 9} {
		members, refs := crowd(n)
		v, share := newView("", 9, members), map[string]int{}
		for _, ref := range refs {
			share[v.owner(ref).ID]++
		}
		for _, m := range members {
			if got, want := share[m.ID], placed/n; got < want*9/10 || got > want*11/10 {
				t.Errorf("of %d members, one owns %d, which is not within 10 %% of %d", n, got, want)
			}
		}
	}
}

// When a member comes or goes, only what becomes or was its own moves. So does it when a
// member drains.
func TestPlacementMovesLittle(t *testing.T) {
	for _, n := range []int{2, 4, 8} {
		members, refs := crowd(n + 1)
		more := newView("", 9, members)
		less := newView("", 9, slices.Clone(members[:n]))
		drained := slices.Clone(members)
		draining(&drained[n])
		less2 := newView("", 9, drained)
		moved := 0
		for _, ref := range refs {
			before, after := less.owner(ref).ID, more.owner(ref).ID
			if before != after {
				moved++
			}
			if before != after && after != members[n].ID {
				t.Fatalf("%s moves between two that stay", ref)
			}
			if less2.owner(ref).ID != before {
				t.Fatalf("%s is elsewhere when a member drains than when it has left", ref)
			}
		}
		if want := placed / (n + 1); moved < want*9/10 || moved > want*11/10 {
			t.Errorf("%d of %d move when one joins %d, want about %d", moved, placed, n, want)
		}
	}
}

func TestPlacementIsTheSameForAll(t *testing.T) {
	members, refs := crowd(5)
	v := newView(members[0].ID, 9, members)
	w := slices.Clone(members)
	slices.Reverse(w)
	w[0], w[2] = w[2], w[0]
	other := newView(members[1].ID, 12, w)
	for _, ref := range refs[:2000] {
		owner := v.owner(ref).ID
		if got := other.owner(ref).ID; got != owner {
			t.Fatalf("%s is on %s, and with the members in another order on %s", ref, owner, got)
		}
		if v.mine(ref) != (owner == members[0].ID) || other.mine(ref) != (owner == members[1].ID) || newView("", 9, members).mine(ref) {
			t.Fatalf("%s is on %s, which its owner alone says to own it", ref, owner)
		}
	}
	if v.member("nobody") != nil || v.member(members[3].ID).ID != members[3].ID {
		t.Error("a member is not found by its id")
	}
}

// A placement does not change from release to release: nodes of two share a register.
func TestPlacementStays(t *testing.T) {
	v := newView("", 9, []member{up("A"), up("B"), up("C")})
	got := ""
	for i := range 24 {
		got += v.owner(holdfast.Ref{Type: "order", ID: fmt.Sprint("o-", i)}).ID
	}
	if want := "ABBACCBCACABAABCCBACBBBA"; got != want {
		t.Errorf("the owners are %s, want %s", got, want)
	}
}

func TestPlacementOfTypes(t *testing.T) {
	v := newView("", 9, []member{up("A", hosts("order")), up("B", hosts("cart", "order")), up("C", hosts("order", "cart"), draining), up("D")})
	owners := map[string]map[string]bool{}
	for i := range 300 {
		for _, typ := range []string{"order", "cart", "bill"} {
			if owners[typ] == nil {
				owners[typ] = map[string]bool{}
			}
			owners[typ][v.owner(holdfast.Ref{Type: typ, ID: fmt.Sprint(i)}).ID] = true
		}
	}
	if got, want := fmt.Sprint(owners), "map[bill:map[D:true] cart:map[B:true D:true] order:map[A:true B:true D:true]]"; got != want {
		t.Errorf("the owners are %s, want %s", got, want)
	}
	for name, v := range map[string]*view{
		"nobody":           newView("", 9, nil),
		"all drain":        newView("C", 9, []member{up("C", draining)}),
		"none hosts it":    newView("A", 9, []member{up("A", hosts("order")), up("B", hosts("bill"))}),
		"the host drains":  newView("A", 9, []member{up("A", hosts("order")), up("B", hosts("cart"), draining)}),
		"an unknown state": newView("A", 9, []member{up("A", func(m *member) { m.State = "resting" })}),
	} {
		if o := v.owner(holdfast.Ref{Type: "cart", ID: "1"}); o != nil || v.mine(holdfast.Ref{Type: "cart", ID: "1"}) {
			t.Errorf("%s: %s owns it", name, o.ID)
		}
	}
}

func TestViewPlacesLike(t *testing.T) {
	v := newView("A", 9, []member{up("A", hosts("order")), up("B")})
	for name, c := range map[string]struct {
		members []member
		want    bool
	}{
		"the same":         {[]member{up("A", hosts("order")), up("B")}, true},
		"renewed":          {[]member{up("A", hosts("order"), settled(10, "order/1")), up("B", func(m *member) { m.revision, m.Active = 12, 7 })}, true},
		"one more":         {[]member{up("A", hosts("order")), up("B"), up("C")}, false},
		"one less":         {[]member{up("A", hosts("order"))}, false},
		"another":          {[]member{up("A", hosts("order")), up("C")}, false},
		"one drains":       {[]member{up("A", hosts("order")), up("B", draining)}, false},
		"other types":      {[]member{up("A", hosts("cart")), up("B")}, false},
		"since later":      {[]member{up("A", hosts("order")), up("B", since(3))}, false},
		"since the record": {[]member{up("A", hosts("order")), up("B", since(0))}, false},
	} {
		if w := newView("A", 10, c.members); v.placesLike(w) != c.want || w.placesLike(v) != c.want {
			t.Errorf("%s: it places like the other: %v, want %v", name, v.placesLike(w), c.want)
		}
	}
	if v.placesLike(nil) || v.placesLike(&view{}) {
		t.Error("it places as if there were nobody")
	}
}

func TestViewReplaceableAndDrained(t *testing.T) {
	for name, c := range map[string]struct {
		members              []member
		replaceable, drained bool
	}{
		"no member":                  {[]member{up("B")}, false, true},
		"alone":                      {[]member{up("A", hosts("order"))}, false, false},
		"another has it":             {[]member{up("A", hosts("order")), up("B", hosts("order", "cart"))}, true, false},
		"another has all":            {[]member{up("A", hosts("order", "cart")), up("B")}, true, false},
		"nobody has the one":         {[]member{up("A", hosts("order", "cart")), up("B", hosts("order"))}, false, false},
		"one has each":               {[]member{up("A", hosts("order", "cart")), up("B", hosts("order")), up("C", hosts("cart"))}, true, false},
		"the other drains":           {[]member{up("A", hosts("order")), up("B", hosts("order"), draining)}, false, false},
		"it drains":                  {[]member{up("A", hosts("order"), draining, since(8)), up("B")}, true, true},
		"it has not seen that":       {[]member{up("A", hosts("order"), draining, since(8), settled(7)), up("B")}, true, false},
		"it holds one":               {[]member{up("A", hosts("order"), draining, since(8), settled(8, "order/1")), up("B")}, true, false},
		"the other has not seen it":  {[]member{up("A", hosts("order"), draining, since(8)), up("B", settled(7))}, true, false},
		"the other has just seen it": {[]member{up("A", hosts("order"), draining, since(8)), up("B", settled(8))}, true, true},
	} {
		v := newView("A", 10, c.members)
		if v.replaceable() != c.replaceable || v.drained() != c.drained {
			t.Errorf("%s: replaceable %v, want %v; drained %v, want %v", name, v.replaceable(), c.replaceable, v.drained(), c.drained)
		}
	}
	late := newView("A", 10, []member{up("A", hosts("order"), draining, since(8), settled(8, "order/1")), up("B", settled(7))})
	if got, want := late.undrained(), "it holds 1 parts, and these have not seen that it leaves: B"; got != want {
		t.Errorf("it waits since %q, want %q", got, want)
	}
}

// ranked gives a ref of the type with which the members have that order of scores.
func ranked(t *testing.T, prefix string, ids ...string) holdfast.Ref {
	t.Helper()
	for i := range 10_000 {
		ref, rest := holdfast.Ref{Type: "order", ID: fmt.Sprint(prefix, i)}, ids
		for len(rest) > 0 {
			var members []member
			for _, id := range rest {
				members = append(members, up(id))
			}
			if newView("", 9, members).owner(ref).ID != rest[0] {
				break
			}
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return ref
		}
	}
	t.Fatal("there is no such ref")
	return holdfast.Ref{}
}

// What each case is about is owned by A, who asks; after A comes B, and then C.
func TestHolder(t *testing.T) {
	ref, odd := ranked(t, "o-", "A", "B", "C"), ranked(t, "\xff\xfe-é-", "A", "B", "C")
	name := ref.String()
	for what, c := range map[string]struct {
		members []member
		want    string
	}{
		"all is settled":                        {[]member{up("A"), up("B"), up("C")}, ""},
		"alone":                                 {[]member{up("A", since(0), settled(3))}, ""},
		"A has joined":                          {[]member{up("A", since(8)), up("B", settled(7))}, "B"},
		"A has joined, and its record is fresh": {[]member{up("A", since(0), settled(3)), up("B", settled(8))}, "B"},
		"A has joined, and B has settled that":  {[]member{up("A", since(8)), up("B", settled(8))}, ""},
		"A has joined, now C does":              {[]member{up("A", since(8)), up("B", settled(8)), up("C", since(9), settled(8))}, ""},
		"A has joined, and B was before C":      {[]member{up("A", since(8)), up("B"), up("C", settled(7))}, ""},
		"A has joined, and B after C settled":   {[]member{up("A", since(8)), up("B", since(7)), up("C", settled(6))}, "C"},
		"A has joined, B does not host it":      {[]member{up("A", since(8)), up("B", hosts("cart")), up("C", settled(7))}, "C"},
		"A has joined, B drains":                {[]member{up("A", since(8)), up("B", draining), up("C", settled(7))}, "C"},
		"A was there, and B joins":              {[]member{up("A", settled(4)), up("B", since(8), settled(7))}, ""},
		"B names it":                            {[]member{up("A"), up("B"), up("C", settled(9, "order/x", name))}, "C"},
		"B names another":                       {[]member{up("A"), up("B"), up("C", settled(9, "order/x"))}, ""},
		"A names it itself":                     {[]member{up("A", settled(9, name)), up("B"), up("C")}, ""},
		"B drains":                              {[]member{up("A", since(8)), up("B", draining, since(8), settled(7))}, "B"},
		"B has drained":                         {[]member{up("A", since(8)), up("B", draining, since(6), settled(7))}, ""},
		"B has drained but for this":            {[]member{up("A", since(8)), up("B", draining, since(6), settled(7, name))}, "B"},
		"B has drained but for another":         {[]member{up("A", since(8)), up("B", draining, since(6), settled(7, "order/x"))}, ""},
	} {
		v, got := newView("A", 9, c.members), ""
		if p := v.holder(ref); p != nil {
			got = p.ID
		}
		if got != c.want {
			t.Errorf("%s: the holder is %q, want %q", what, got, c.want)
		}
	}
	told := changeAfterJSON(t, up("B", settled(9, odd.String())).record)
	if v := newView("A", 9, []member{up("A"), {record: told, revision: 9}}); v.holder(odd) == nil {
		t.Error("an aggregate whose id is no UTF-8 is held, and that is not seen")
	}
}
