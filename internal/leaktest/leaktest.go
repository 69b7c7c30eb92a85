// Package leaktest finds goroutines that the tests of a package leave behind.
package leaktest

import (
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests and then fails when a goroutine is left, as [goleak.VerifyTestMain] does. It
// passes over two that nats-server v2.15.2 leaves when it is stopped in the moment in which
// it makes a stream: those of a file store that nothing refers to any more.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
	)
}
