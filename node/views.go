package node

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// queries lets clients query the node's projections.
type queries struct {
	*Node
}

// queried are those of the node; nil when it has none.
func (n *Node) queried() gateway.Views {
	if n.views.runner == nil {
		return nil
	}
	return queries{n}
}

// aside is how long it may take to see how far a projection is, once the time of a query is up.
const aside = time.Second

// Await implements [gateway.Views].
func (q queries) Await(ctx context.Context, projection string, after holdfast.Position) (holdfast.Position, error) {
	err := q.views.runner.Await(ctx, projection, after)
	if err == nil || !errors.Is(err, holdfast.ErrUnavailable) {
		return after, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), aside)
	defer cancel()
	at := holdfast.NewPosition(after.Partition(), 0)
	if all, err := q.views.runner.Statuses(ctx); err == nil {
		for _, text := range serving(all, projection).Positions {
			if p, err := holdfast.ParsePosition(text); err == nil && p.Partition() == after.Partition() {
				at = p
			}
		}
	}
	return at, err
}

// serving gives how what serves of a projection stands.
func serving(all []runner.Status, projection string) runner.GenerationStatus {
	for _, s := range all {
		for _, g := range s.Generations {
			if s.Name == projection && g.Generation == s.Record.Serving {
				return g
			}
		}
	}
	return runner.GenerationStatus{}
}

// Answer implements [gateway.Views].
func (q queries) Answer(ctx context.Context, projection, key string, after ...holdfast.Position) ([]byte, []holdfast.Position, error) {
	return q.views.runner.Answer(ctx, projection, key, after...)
}

// Describe implements [gateway.Views].
func (q queries) Describe(ctx context.Context) ([]persistence.Partition, error) {
	return q.store.Describe(ctx)
}

// Views implements [gateway.Views].
func (q queries) Views(ctx context.Context) ([]gateway.View, error) {
	statuses, err := q.views.runner.Statuses(ctx)
	if err != nil {
		return nil, err
	}
	var all []gateway.View
	for _, s := range statuses {
		if s.Form == "" { // another build has it
			continue
		}
		g := serving(statuses, s.Name)
		v := gateway.View{
			Projection: s.Name, Form: s.Form, Generation: s.Record.Serving, Position: strings.Join(g.Positions, ","), Answers: s.Shown,
		}
		if s.InKV {
			v.Bucket = q.views.context.ViewBucket(s.Name, s.Record.Serving)
			v.Where = "NATS KV, bucket " + v.Bucket
		} else if sink := q.views.opened(); sink != nil {
			v.Where = sink.Where(s.Name)
		}
		all = append(all, v)
	}
	return all, nil
}
