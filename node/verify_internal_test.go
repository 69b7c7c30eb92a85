package node

import (
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// What is verified is read wherever there is a copy of it, and nowhere else.
func TestReplicasToVerify(t *testing.T) {
	part := func(n uint32, on ...string) persistence.Partition {
		return persistence.Partition{Number: n, Replicas: on}
	}
	ada := holdfast.Ref{Type: "account", ID: "ada"}
	sub, err := persistence.LogSubject("demo", ada, 2)
	if err != nil {
		t.Fatal(err)
	}
	spread := []persistence.Partition{part(0, "n1", "n2", "n3"), part(1, "n1", "n2", "n3")}
	spread[sub.Partition].Replicas = []string{"n3", "n4", "n5"}
	for name, c := range map[string]struct {
		partitions []persistence.Partition
		filter     persistence.Filter
		want       []string
	}{
		"nameless":         {[]persistence.Partition{part(0), part(1)}, persistence.Filter{}, nil},
		"one copy of each": {[]persistence.Partition{part(0, "n1"), part(1, "n2")}, persistence.Filter{}, nil},
		"one copy of some": {[]persistence.Partition{part(0, "n4"), part(1, "n1", "n2", "n3")}, persistence.Filter{}, []string{"n1", "n2", "n3", "n4"}},
		"spread":           {spread, persistence.Filter{Type: "account"}, []string{"n1", "n2", "n3", "n4", "n5"}},
		"one aggregate":    {spread, persistence.Filter(ada), []string{"n3", "n4", "n5"}},
	} {
		v := verification{context: "demo", filter: c.filter}
		if got, err := v.replicas(c.partitions); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, c.want)
		}
	}
}
