package cluster

import (
	"errors"
	"testing"
	"time"
)

// A node is not taken for cut off between two renewals, however long its lease is.
func TestALongLeaseIsKeptFresh(t *testing.T) {
	for _, lease := range []time.Duration{LeastLease, DefaultLease, 10 * time.Second, time.Minute, time.Hour} {
		if again := renewed(lease); again <= 0 || again > lease/renewAfter || again > freshFor/2 {
			t.Errorf("a lease of %v is renewed after %v: it is fresh for %v", lease, again, freshFor)
		}
	}
}

// Also a record is removed that was being written when the node left, and of which it never heard.
func TestEndOfWhatIsBeingWritten(t *testing.T) {
	b := startRing(t).member().bucket
	r := record{ID: "LEAVING", Name: "n9", Lease: time.Minute, State: stateUp}
	l := newLease(b, r, time.Now, func(*record) {})
	if err := l.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.put(t.Context(), &r, l.last()); err != nil {
		t.Fatal(err)
	}
	if err := l.end(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := b.last(t.Context(), r.ID); !errors.Is(err, errLost) {
		t.Errorf("the record is still there: %v", err)
	}
}
