package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/cluster"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// contextName is the bounded context of the stage.
const contextName messages.Context = "bench"

// maxReaders is as many connections as a node reads the log with.
const maxReaders = 4

// A mode is how the servers are.
type mode struct {
	name, title string
	servers     int
	relaxed     bool
}

var modes = []mode{
	{"always", "One server, fsync before every answer (always)", 1, false},
	{"relaxed", "One server, answers before the fsync (relaxed): what NATS does by default", 1, true},
	{"three", "Three servers on this machine, fsync before every answer (three)", 3, false},
}

func (m mode) replicas() int {
	if m.servers > 1 {
		return 3
	}
	return 1
}

// A stage is what a workload runs on: servers in a folder of their own, and members of one
// cluster, all in this process and connected without a network.
type stage struct {
	mode    mode
	folder  string
	servers []*natsd.Server
	conns   []*nats.Conn
	stores  []*jetstream.Store
	members []*cluster.Member
	stops   []func(context.Context) error // what a workload has started, to be stopped first
	setting setting
	victim  *victim
	aged    int          // events that were there before the workload
	crowded atomic.Int64 // requests that were refused because too many aggregates were active
	// admin is how another process's servers are reached, where there are none in this one.
	admin *natsd.Admin
}

// A setting is what a workload asks of its stage.
type setting struct {
	members int
	host    actors.Config
	lease   time.Duration // of the members; 0 for the usual one
	// self begins the command line of a victim, which is the last of three servers and a
	// member, or only a member. Without it there is none.
	self []string
}

// newStage starts servers and members. The caller closes it.
func newStage(ctx context.Context, m mode, dir string, set setting) (s *stage, err error) {
	s = &stage{mode: m, setting: set}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.folder, err = os.MkdirTemp(dir, "holdfast-bench-"); err != nil {
		return s, fmt.Errorf("make a folder for the servers: %w", err)
	}
	if err := s.startServers(ctx); err != nil {
		return s, err
	}
	return s, s.joinAll(ctx)
}

// joinAll adds the members that are asked for.
func (s *stage) joinAll(ctx context.Context) error {
	for i := range s.setting.members {
		if err := s.join(ctx, i, memberName(i)); err != nil {
			return err
		}
	}
	return nil
}

// take takes the servers that have been started. Those of which the start failed are nil.
func (s *stage) take(started []*natsd.Server, errs []error) error {
	for _, server := range started {
		if server != nil {
			s.servers = append(s.servers, server)
		}
	}
	return errors.Join(errs...)
}

// startServers starts all of them, and the victim, if there is one.
func (s *stage) startServers(ctx context.Context) (err error) {
	config := natsd.Config{
		DataDir: s.folder, Context: string(contextName), RelaxedSync: s.mode.relaxed, Logger: slog.New(slog.DiscardHandler),
	}
	if s.setting.self == nil {
		s.servers, err = natsd.StartCluster(ctx, s.mode.servers, config)
		return err
	}
	return s.startWithVictim(ctx, config)
}

// join adds a member with a store of its own, connected to one of the servers.
func (s *stage) join(ctx context.Context, i int, name string) error {
	dialled, err := s.dials(i, 2+min(maxReaders, runtime.GOMAXPROCS(0)))
	if err != nil {
		return err
	}
	store, err := jetstream.Open(ctx, jetstream.Config{
		Context: contextName, Replicas: s.mode.replicas(), Publish: dialled[0], Read: dialled[2:], Logger: slog.New(slog.DiscardHandler),
		SyncAlways: !s.mode.relaxed && s.mode.servers == 1,
	})
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	s.stores = append(s.stores, store)
	host := s.setting.host
	host.Context, host.Store, host.Log = contextName, store, slog.New(slog.DiscardHandler)
	host.Types = append([]holdfast.Definition{bank.Account}, host.Types...)
	member, err := cluster.Start(ctx, cluster.Config{
		Host: host, Conn: dialled[1], Replicas: s.mode.replicas(), Name: name, Lease: s.setting.lease,
	})
	if err != nil {
		return err
	}
	s.members = append(s.members, member)
	return nil
}

// memberName is what a member is called, in their order.
func memberName(i int) string { return fmt.Sprintf("n%d", i+1) }

// dials connects to one of the servers so many times.
func (s *stage) dials(server, times int) ([]*nats.Conn, error) {
	var out []*nats.Conn
	for range times {
		nc, err := s.dial(server)
		if err != nil {
			return nil, err
		}
		s.conns = append(s.conns, nc)
		out = append(out, nc)
	}
	return out, nil
}

func (s *stage) dial(server int) (*nats.Conn, error) {
	if a := s.admin; a != nil {
		return natsd.Dial(a.URL, nats.UserInfo(a.User, a.Password), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	}
	return s.servers[server%len(s.servers)].Connect(natsd.Node, nats.ReconnectBufSize(-1))
}

// stopTimeout is how long a member may take to answer what is on its way.
const stopTimeout = 15 * time.Second

// close stops everything in order and removes the folder.
func (s *stage) close() error {
	err := s.leave()
	if s.folder != "" {
		err = errors.Join(err, os.RemoveAll(s.folder))
	}
	return err
}

// leave stops everything in order. The folder stays.
func (s *stage) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	for _, stop := range s.stops {
		errs = append(errs, stop(ctx))
	}
	if s.victim != nil {
		s.victim.kill()
	}
	for _, m := range s.members {
		errs = append(errs, m.Stop(ctx))
	}
	for _, store := range s.stores {
		store.Close()
	}
	for _, nc := range s.conns {
		nc.Close()
	}
	var all sync.WaitGroup
	for _, server := range s.servers {
		all.Go(server.Stop)
	}
	all.Wait()
	s.stops, s.members, s.stores, s.conns, s.servers = nil, nil, nil, nil, nil
	return errors.Join(errs...)
}
