package node

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/desk"
	"github.com/holdfast-run/holdfast/projections/index"
	"github.com/holdfast-run/holdfast/projections/kvsink"
	"github.com/holdfast-run/holdfast/projections/runner"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

// readModels are a node's part in keeping projections. The zero one has none.
type readModels struct {
	context  messages.Context
	register *runner.Register
	runner   *runner.Runner
	desk     *desk.Desk
	index    *index.Desk
	kv       *kvsink.Sink

	mu  sync.Mutex
	sql *sqlsink.Sink // once it was needed
}

// readModels are the projections of the domain, and the index.
func (c Config) readModels() []*projections.Projection {
	if c.NoIndex {
		return c.Projections
	}
	return append(slices.Clip(c.Projections), index.Definition)
}

// checkProjections says what is wrong with the projections of a domain as a whole.
func (c Config) checkProjections() error {
	seen := map[string]bool{}
	for _, p := range c.readModels() {
		if p == nil {
			return &ConfigError{Field: "Projections", Problem: "one of them is nil: leave it out"}
		}
		if seen[p.Name()] {
			return &ConfigError{Field: "Projections", Problem: "two of them are called " + p.Name() + ": rename one"}
		}
		seen[p.Name()] = true
	}
	if folder, url := c.database(); folder == "" && !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return &ConfigError{Field: "Database", Problem: "want one like postgres://user@host:5432/database, or sqlite:FOLDER for files of SQLite"}
	}
	return nil
}

// database says where read models are kept that are kept in SQL: in a folder of this node's own,
// or at a URL.
func (c Config) database() (folder, url string) {
	switch own, ok := strings.CutPrefix(c.Database, "sqlite:"); {
	case ok:
		return own, ""
	case c.Database != "":
		return "", c.Database
	case c.NATS == "":
		return filepath.Join(cmp.Or(c.Data, defaultData), "views"), ""
	}
	return filepath.Join(defaultData, c.called(), "views"), ""
}

// runProjections has the node take its part in keeping the projections.
func (n *Node) runProjections(ctx context.Context, core, public *nats.Conn) (err error) {
	c, name := n.config, messages.Context(n.config.Context)
	if len(c.readModels()) == 0 {
		return nil
	}
	n.views.context = name
	if n.views.kv, err = kvsink.New(kvsink.Config{
		Context: name, Conn: public, Log: messages.NewLogName(n.store.Created()), Replicas: c.Replicas,
	}); err != nil {
		return err
	}
	n.views.register, err = runner.OpenRegister(ctx, runner.RegisterConfig{Context: name, Conn: core, Replicas: c.Replicas, Log: c.Log})
	if err != nil {
		return err
	}
	seats, err := follow.Open(ctx, follow.Config{
		Context: name, Conn: core, Replicas: c.Replicas, Node: c.runs(), Lease: c.Lease, Log: c.Log,
	})
	if err != nil {
		return err
	}
	n.views.runner, err = runner.Start(ctx, runner.Config{
		Projections: c.readModels(), Log: n.store, Register: n.views.register, Seats: seats, Sink: n.sinkOf,
		Node: c.called(), Alone: c.runs() == "alone", Logger: c.Log,
	})
	return err
}

// called is by which name others know what this node keeps of its own. Nodes without a name on
// one machine would share that.
func (c Config) called() string {
	host, _ := os.Hostname() // or none
	return cmp.Or(c.runs(), host, "node")
}

// sinkOf gives where a projection is kept.
func (n *Node) sinkOf(p *projections.Projection) (projections.Sink, error) {
	if p.InKV() {
		return n.views.kv, nil
	}
	return n.views.inSQL(n.config, messages.NewLogName(n.store.Created()))
}

// inSQL gives the one sink of all that are kept in a SQL database.
func (v *readModels) inSQL(c Config, log messages.LogName) (_ *sqlsink.Sink, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sql != nil {
		return v.sql, nil
	}
	config := sqlsink.Config{Context: v.context, Log: log}
	config.Folder, config.URL = c.database()
	v.sql, err = sqlsink.Open(config)
	return v.sql, err
}

// serveProjections answers the operators of projections.
func (n *Node) serveProjections() (err error) {
	c := n.config
	if n.views.runner == nil {
		return nil
	}
	n.views.desk, err = desk.Start(desk.Config{
		Context: messages.Context(c.Context), Conn: n.edge, Register: n.views.register, Runner: n.views.runner, Node: c.called(),
		Describe: n.store.Describe, Timeout: c.Timeout, Logger: c.Log,
	})
	if err != nil || c.NoIndex {
		return err
	}
	n.views.index, err = index.Start(index.Config{
		Context: messages.Context(c.Context), Conn: n.edge, Source: indexed{n.views.runner}, Timeout: c.Timeout, Logger: c.Log,
	})
	return err
}

// indexed is the index as it serves.
type indexed struct{ runner *runner.Runner }

// Query implements [index.Source].
func (i indexed) Query(ctx context.Context, do func(projections.Batch) error) error {
	return i.runner.Query(ctx, index.Name, do)
}

// stopAnswering has operators answered no more.
func (v *readModels) stopAnswering(ctx context.Context) (err error) {
	if v.desk != nil {
		err = v.desk.Stop(ctx)
	}
	if v.index != nil {
		err = errors.Join(err, v.index.Stop(ctx))
	}
	return err
}

// stop ends what is under way, and gives back the databases.
func (v *readModels) stop() {
	if v.runner != nil {
		v.runner.Stop()
	}
	if v.register != nil {
		v.register.Close()
	}
	if sink := v.opened(); sink != nil {
		sink.Close()
	}
}

// opened is the sink of what is kept in a SQL database; nil before it was needed.
func (v *readModels) opened() *sqlsink.Sink {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.sql
}
