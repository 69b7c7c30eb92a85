// Package polltest waits in tests for what becomes true a moment later.
package polltest

import (
	"testing"
	"time"
)

// Until tries until there is no error, and fails the test with the last one when its patience
// is at an end.
func Until(t testing.TB, patience time.Duration, try func() error) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatal(err)
		}
	}
}
