package desk_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/sagas/desk"
)

// When none answers, what was found in half of the time is told, and the rest can be asked
// for. Not all are asked at once.
func TestListInHaste(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked, most := 0, 0
	const limit = 1600 * time.Millisecond
	w := setup(t, func(c *desk.Config) {
		c.Timeout = limit
		c.Viewer = viewer(func(ctx context.Context, _ holdfast.Ref) (holdfast.View, error) {
			if end, ok := ctx.Deadline(); !ok || time.Until(end) > limit/8 {
				t.Errorf("each is waited for for long: until %v", end)
			}
			mu.Lock()
			asked++
			most = max(most, asked)
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			asked--
			mu.Unlock()
			return holdfast.View{}, ctx.Err()
		})
	})
	const n = 200
	for i := range n {
		w.must(w.list.Add(within(t), checkout(fmt.Sprintf("o-%d", i)), dawn))
	}
	seen, pages := map[string]bool{}, 0
	for after := ""; pages == 0 || after != ""; pages++ {
		page := w.listedAtLast(fmt.Sprintf(`{"limit":1000,"after":%q}`, after))
		for _, s := range page.Sagas {
			seen[s.Ref] = true
		}
		after = page.Next
	}
	if len(seen) != n || pages < 2 {
		t.Errorf("%d are listed on %d pages", len(seen), pages)
	}
	if most > 16 {
		t.Errorf("%d were asked at a time", most)
	}
}

// A page ends where it would not fit into a message.
func TestPagesThatFit(t *testing.T) {
	t.Parallel()
	w := setupOn(t, natsd.Config{MaxPayload: 8 << 10})
	const n = 60
	for i := range n {
		w.begin(fmt.Sprintf("o-%d", i))
	}
	seen, pages := map[string]bool{}, 0
	for after := ""; pages == 0 || after != ""; pages++ {
		page := w.listed(fmt.Sprintf(`{"limit":1000,"after":%q}`, after))
		for _, s := range page.Sagas {
			seen[s.Ref] = true
		}
		after = page.Next
	}
	if len(seen) != n || pages < 2 {
		t.Errorf("%d are listed on %d pages", len(seen), pages)
	}
	ref := w.shipped("o-60")
	moments, pages := 0, 0
	for from := uint64(1); from != 0; pages++ {
		page := w.shows(ref, fmt.Sprintf(`{"from":%d}`, from))
		moments += len(page.Timeline)
		from = page.Next
	}
	if moments != 16 || pages < 2 {
		t.Errorf("%d moments are shown on %d pages", moments, pages)
	}
}

// What happens while a saga is looked at is for the next page: the timeline does not know
// more than the state.
func TestShowOfWhatGoesOn(t *testing.T) {
	t.Parallel()
	var before *holdfast.View
	w := setup(t, func(c *desk.Config) {
		next := c.Viewer
		c.Viewer = viewer(func(ctx context.Context, ref holdfast.Ref) (holdfast.View, error) {
			if before != nil {
				return *before, nil
			}
			return next.View(ctx, ref)
		})
	})
	w.begin("o-1")
	view, err := w.member.View(within(t), checkout("o-1"))
	w.must(err)
	w.accept("checkout/o-1", "order")
	before = &view
	if got := w.shows("checkout/o-1", ""); got.Version != 2 || len(got.Timeline) != 2 || got.Next != 3 {
		t.Errorf("at version %d it shows %d, and more at %d", got.Version, len(got.Timeline), got.Next)
	}
	before = nil
	if got := w.shows("checkout/o-1", `{"from":3}`); got.Version != 5 || len(got.Timeline) != 3 || got.Next != 0 {
		t.Errorf("at version %d it shows %d, and more at %d", got.Version, len(got.Timeline), got.Next)
	}
}
