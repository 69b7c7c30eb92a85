package cluster

import (
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
