package holdfasttest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/holdfasttest"
)

// A fakeT stands in for the *testing.T of a team whose domain is wrong, and keeps what
// the kit says of it.
type fakeT struct {
	t        *testing.T
	said     string
	cleanups []func()
}

// stopped is how Fatalf leaves.
type stopped struct{}

func (f *fakeT) T() *testing.T { return f.t }
func (f *fakeT) Helper()       {}

func (f *fakeT) Errorf(format string, args ...any) { f.said += fmt.Sprintf(format, args...) }

func (f *fakeT) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic(stopped{})
}

func (f *fakeT) Cleanup(fn func()) { f.cleanups = append(f.cleanups, fn) }

// verdictOn runs a test and gives what the kit says of it: nothing when it passes.
func verdictOn(t *testing.T, test func(t holdfasttest.TB)) string {
	t.Helper()
	f := &fakeT{t: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != (stopped{}) {
				panic(r)
			}
		}()
		test(f)
	}()
	for _, cleanup := range f.cleanups {
		cleanup()
	}
	return f.said
}

func wantSaid(t *testing.T, said string, parts ...string) {
	t.Helper()
	if said == "" {
		t.Fatal("the kit found nothing wrong")
	}
	for _, part := range parts {
		if !strings.Contains(said, part) {
			t.Errorf("the kit said\n%s\nwhich lacks\n%s", said, part)
		}
	}
}
