package kvsink_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
)

// TestItsConsumersAreANodes: what a node reads a bucket with has a name that clients may not use.
// They could change its filter, and have the node miss what is parked.
func TestItsConsumersAreANodes(t *testing.T) {
	conn := connect(t, startServers(t, 1)[0])
	s := open(t, conn, 1)
	u := projections.Unit{Projection: "balances", Generation: 1}
	err := errors.Join(s.Prepare(within(t), counter("balances"), 1),
		s.Commit(within(t), u, projections.Checkpoint{}, projections.Checkpoint{Done: 1}, func(b projections.Batch) error { return b.Park(park("k", 1)) }))
	if err != nil {
		t.Fatal(err)
	}
	const created = "$JS.EVENT.ADVISORY.CONSUMER.CREATED.KV_test_view_balances_1."
	sub, err := conn.SubscribeSync(created + "*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ParkedKeys(within(t), "balances", 1, 10); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsgWithContext(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if name := strings.TrimPrefix(m.Subject, created); !strings.HasPrefix(name, messages.NodeConsumers) {
		t.Errorf("it reads with %s", name)
	}
}
