package node

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/cluster"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/sagas"
	"github.com/holdfast-run/holdfast/sagas/runner"
)

const (
	defaultContext = "demo"
	defaultData    = "holdfast-data"
	defaultListen  = "127.0.0.1:4222"
)

// Config is what a node is started with. Types or Sagas are required; everything else has
// a default.
type Config struct {
	// Context is the bounded context that the node serves; "demo" by default.
	Context string
	// Types are the aggregate types of the domain.
	Types []holdfast.Definition
	// Sagas of the domain. Each is a type as well, and is none of Types.
	Sagas []*sagas.Saga
	// Projections of the domain: its read models.
	Projections []*projections.Projection
	// NoIndex leaves out the index of all events, in which operators look for them.
	NoIndex bool
	// Database keeps the projections that are kept in SQL: the URL of a PostgreSQL database, as
	// postgres://user@host:5432/database, or sqlite:FOLDER for files of this node's own. By
	// default these are in the folder views of Data, or, with NATS, in holdfast-data/NAME/views.
	Database string

	// Data is the folder in which the embedded NATS server keeps everything;
	// "holdfast-data" by default.
	Data string
	// Listen is where the embedded server listens for clients; 127.0.0.1:4222 by
	// default. Port 0 takes a free one.
	Listen string
	// ClientUser and ClientPassword are what clients have to give, if set. They must be
	// when Listen can be reached from other machines.
	ClientUser, ClientPassword string
	// RelaxedSync has commands answered before they are fsynced, which a crash of the
	// machine may undo: for benchmarks.
	RelaxedSync bool

	// NATS is the URL of an external NATS server to use instead of the embedded one, or
	// several with commas between them, and Credentials a file with the node's credentials
	// for it, if it needs one. Whether that server fsyncs before it answers cannot be seen
	// from outside. What concerns the embedded server (Data, Listen, ClientUser,
	// ClientPassword, RelaxedSync, Cluster, ClusterSecret) must then be empty.
	NATS, Credentials string
	// NATSSyncAlways says that it does, so that commits of several aggregates are stored
	// together where each would cost it an fsync: with one replica. Of the embedded server
	// that is known.
	NATSSyncAlways bool

	// Cluster are all nodes, this one included, when their embedded servers form a
	// JetStream cluster: three or another odd number, the same on all of them. The majority
	// of them has to run. Name says which of them this node is, and keeps its place together
	// with Data: the two belong together for ever. A log that was begun without a cluster
	// stays without one.
	Cluster []ClusterNode
	// ClusterSecret is what these servers show one another, the same on all. It may only be
	// left out when all of Cluster are on this machine.
	ClusterSecret string

	// Partitions of the log, 1,024 at the most; fixed once the context exists. 0 takes what
	// is there, or 1.
	Partitions int
	// Replicas of the log, 1 or 3. 3 needs a cluster, be it this one's or an external one,
	// and is the default with Cluster; otherwise it is 1.
	Replicas int

	// Name is what operators call the node among the others; the address of PeerListen by
	// default. With Cluster it is required.
	Name string
	// PeerListen is where the node listens for the other nodes of its context, which
	// Cluster or an external NATS server lets it have; by default a free port of 127.0.0.1,
	// or of the host that Cluster names for this node. PeerAdvertise is the address by which
	// they reach it, if it is another.
	PeerListen, PeerAdvertise string
	// PeerCA, PeerCert and PeerKey are PEM files, all three or none: with them, whatever
	// passes between nodes is encrypted, and between the servers of Cluster. Each node shows
	// the certificate in PeerCert, whose key is in PeerKey, to those that it calls and to
	// those that call it, and demands one that an authority in PeerCA has signed. The one of
	// the node that is called has to name the host by which it is: that of Cluster, and that
	// of PeerAdvertise or PeerListen. PeerCert and PeerKey are read again when they change.
	// Without the three the network between the nodes has to be trusted.
	PeerCA, PeerCert, PeerKey string
	// Lease is how long after its last sign of life the others take the node for gone: 3
	// seconds by default, at least one, and the same on all nodes.
	Lease time.Duration
	// Hosts are the names of those of Types and Sagas that the node hosts; all by default.
	Hosts []string

	// Idle is how long an aggregate stays active without being asked; 2 minutes by
	// default.
	Idle time.Duration
	// MaxActive is how many aggregates may be active; 100,000 by default.
	MaxActive int
	// Queue is how many requests may wait at one aggregate; 1,024 by default.
	Queue int
	// MaxInFlight is how many requests of clients may be under way; 4,096 by default.
	MaxInFlight int
	// Timeout is how long a client's request may take; 10 seconds by default.
	Timeout time.Duration

	// Feed says what becomes of the public events.
	Feed Feed

	// Log is slog.Default() by default.
	Log *slog.Logger

	// adapt changes with what the sagas are run, for tests.
	adapt func(*runner.Config)
}

func (c Config) withDefaults() Config {
	c.Context = cmp.Or(c.Context, defaultContext)
	c.Data = cmp.Or(c.Data, defaultData)
	c.Listen = cmp.Or(c.Listen, defaultListen)
	if len(c.Cluster) > 0 {
		c.Replicas = cmp.Or(c.Replicas, 3)
		c.PeerListen = cmp.Or(c.PeerListen, c.peerListen())
	}
	c.Replicas = cmp.Or(c.Replicas, 1)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// A ConfigError says what is wrong with a field of a [Config], and what to do.
type ConfigError struct {
	// Field is the wrong one, and Other, if not empty, the one that it does not go with.
	Field, Other string
	// Problem is the sentence. It names no field.
	Problem string
}

// Error begins with the fields.
func (e *ConfigError) Error() string {
	if e.Other != "" {
		return e.Field + " and " + e.Other + ": " + e.Problem
	}
	return e.Field + ": " + e.Problem
}

// Validate finds what a node cannot be started with, without looking at anything but c and
// the files of PeerCA, PeerCert and PeerKey: a *[ConfigError].
func (c Config) Validate() error {
	if len(c.Types)+len(c.Sagas) == 0 {
		return &ConfigError{Field: "Types", Problem: "a node without aggregate types serves nothing: give it some"}
	}
	if _, err := sagas.NewBook(c.Types, c.Sagas...); err != nil {
		return &ConfigError{Field: "Sagas", Problem: err.Error()}
	}
	if err := c.checkProjections(); err != nil {
		return err
	}
	if err := c.validatePlace(); err != nil {
		return err
	}
	secure, err := c.peerTLS()
	if err != nil {
		return err
	}
	if c.NATS == "" {
		if err := c.validateServer(secure); err != nil {
			return err
		}
	}
	return c.validateNumbers()
}

// validatePlace looks at what says where the log is.
func (c Config) validatePlace() error {
	if _, err := messages.ParseContext(cmp.Or(c.Context, defaultContext)); err != nil {
		return &ConfigError{Field: "Context", Problem: err.Error()}
	}
	if c.NATS == "" {
		if c.Credentials != "" {
			return &ConfigError{Field: "Credentials", Other: "NATS", Problem: "credentials are for an external NATS server: name it, or leave them out"}
		}
		if c.NATSSyncAlways {
			return &ConfigError{Field: "NATSSyncAlways", Other: "NATS", Problem: "it tells of an external NATS server: name it, or leave it out"}
		}
		return nil
	}
	if _, err := redact(c.NATS); err != nil {
		return &ConfigError{Field: "NATS", Problem: err.Error()}
	}
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"Data", c.Data != ""},
		{"Listen", c.Listen != ""},
		{"ClientUser", c.ClientUser != ""},
		{"ClientPassword", c.ClientPassword != ""},
		{"RelaxedSync", c.RelaxedSync},
		{"Cluster", len(c.Cluster) > 0},
		{"ClusterSecret", c.ClusterSecret != ""},
	} {
		if f.given {
			return &ConfigError{Field: f.name, Other: "NATS", Problem: "the one is of the embedded NATS server, the other has an external one used instead: leave one of them out"}
		}
	}
	return nil
}

// validateServer looks at what the embedded server is started with.
func (c Config) validateServer(secure *tls.Config) error {
	if c.Replicas == 3 && len(c.Cluster) == 0 {
		return &ConfigError{Field: "Replicas", Problem: "the embedded NATS server is alone, and 3 replicas need a cluster: choose 1, or name the cluster"}
	}
	if err := c.validateCluster(); err != nil {
		return err
	}
	err := c.withDefaults().serverConfig(secure).Validate()
	if field, ok := errors.AsType[*natsd.FieldError](err); ok {
		return &ConfigError{Field: clusterFieldOf(field.Field), Other: field.Other, Problem: field.Problem}
	}
	return err
}

func (c Config) validateNumbers() error {
	if c.Partitions < 0 || c.Partitions > jetstream.MaxPartitions {
		return &ConfigError{Field: "Partitions", Problem: fmt.Sprintf("it is %d: choose 1 to %d, or 0 for what is there", c.Partitions, jetstream.MaxPartitions)}
	}
	if c.Replicas != 0 && c.Replicas != 1 && c.Replicas != 3 {
		return &ConfigError{Field: "Replicas", Problem: fmt.Sprintf("it is %d: choose 1 or 3", c.Replicas)}
	}
	for _, f := range []struct {
		name string
		n    int
	}{{"MaxActive", c.MaxActive}, {"Queue", c.Queue}, {"MaxInFlight", c.MaxInFlight}} {
		if f.n < 0 {
			return &ConfigError{Field: f.name, Problem: fmt.Sprintf("it is %d: choose 1 or more", f.n)}
		}
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"Idle", c.Idle}, {"Timeout", c.Timeout}, {"Lease", c.Lease}} {
		if f.d < 0 {
			return &ConfigError{Field: f.name, Problem: fmt.Sprintf("it is %v: choose more than nothing, for instance 10s", f.d)}
		}
	}
	if err := c.Feed.validate(); err != nil {
		return err
	}
	return c.validatePeers()
}

func (c Config) validatePeers() error {
	if c.Lease != 0 && c.Lease < cluster.LeastLease {
		return &ConfigError{Field: "Lease", Problem: fmt.Sprintf("it is %v: choose %v or more", c.Lease, cluster.LeastLease)}
	}
	for _, f := range []struct{ name, address string }{{"PeerListen", c.PeerListen}, {"PeerAdvertise", c.PeerAdvertise}} {
		if f.address == "" {
			continue
		}
		host, _, err := net.SplitHostPort(f.address)
		if err != nil {
			return &ConfigError{Field: f.name, Problem: fmt.Sprintf("it is %q: want host:port", f.address)}
		}
		if ip := net.ParseIP(host); (host == "" || ip != nil && ip.IsUnspecified()) && c.PeerAdvertise == "" {
			return &ConfigError{Field: "PeerAdvertise", Other: f.name, Problem: fmt.Sprintf("%q stands for all addresses of this machine: say by which one the other nodes reach it", f.address)}
		}
	}
	for _, name := range c.Hosts {
		if !slices.ContainsFunc(typesOf(c.Types, c.Sagas), func(d holdfast.Definition) bool { return d.Name() == name }) {
			return &ConfigError{Field: "Hosts", Problem: fmt.Sprintf("there is no type %q: leave it out", name)}
		}
	}
	return nil
}

// syncsEach reports whether each message of the log costs an fsync of its own: the servers of
// a cluster sync as a group.
func (c Config) syncsEach() bool {
	if c.NATS != "" {
		return c.NATSSyncAlways
	}
	return !c.RelaxedSync && len(c.Cluster) == 0
}

// serverConfig is what the embedded server is started with, and secure what its routes are.
func (c Config) serverConfig(secure *tls.Config) natsd.Config {
	config := natsd.Config{
		DataDir: c.Data, Listen: c.Listen, Context: c.Context,
		ClientUser: c.ClientUser, ClientPassword: c.ClientPassword,
		RelaxedSync: c.RelaxedSync, Logger: c.Log,
	}
	if config.Cluster = c.serverCluster(); config.Cluster != nil {
		config.Name, config.Cluster.TLS = c.Name, secure
	}
	return config
}
