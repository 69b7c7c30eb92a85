package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-run/holdfast/cluster"
	"github.com/holdfast-run/holdfast/node/cli"
)

// stopTimeout is how long a node may take to answer what is on its way.
const stopTimeout = 15 * time.Second

const (
	runLong = `Run a node until it is interrupted. It serves one bounded context from an embedded
NATS server, which keeps everything in the data folder and answers a command only when
it is fsynced; or, with --nats, from an external NATS server.

With --cluster the embedded servers of three nodes form one JetStream cluster, which keeps
the log three times: one of the nodes may fail, and the others go on. Each node has its
own --name and data folder, which belong together; they may be started in any order, and
serve when the servers have found one another.

What nodes say to one another is encrypted with --peer-ca, --peer-cert and --peer-key, which
go together: each node shows its certificate and demands one of the others. It has to name
the host of the node in --cluster, and that of --peer-advertise or --peer-listen, and to be
good for both ends of a connection. A renewed certificate needs no restart, other
authorities do.

At an interrupt (Ctrl-C, SIGTERM) it answers what is on its way and stops in order. It
may be killed at any moment: whatever was answered is in the log.

An external NATS server may go and come back; the log on stderr says so.

Exit codes: 0 stopped as asked, 1 not started, not stopped in order, or ended by itself,
2 wrong usage.`
	runExample = `  %[1]s run
  %[1]s run --data /var/lib/bank --context bank --listen 127.0.0.1:4222
  %[1]s run --nats nats://nats.internal:4222 --credentials node.creds --context bank
  HOLDFAST_CLUSTER_SECRET=... %[1]s run --name n1 --cluster n1=10.0.0.1:6222,n2=10.0.0.2:6222,n3=10.0.0.3:6222
  HOLDFAST_CLUSTER_SECRET=... %[1]s run --name n1 --cluster n1=n1.example:6222,n2=n2.example:6222,n3=n3.example:6222 \
      --peer-ca ca.pem --peer-cert n1.pem --peer-key n1.key
  HOLDFAST_CONTEXT=bank %[1]s run`
)

func runCommand(d Domain, cfg cli.Config) *cobra.Command {
	c := Config{Types: d.Types, Sagas: d.Sagas, Projections: d.Projections}
	var logs logOptions
	cmd := &cobra.Command{
		Use:               "run",
		Short:             "Run a node",
		Long:              runLong,
		Example:           fmt.Sprintf(runExample, cfg.Program),
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cli.ReadEnv(cmd.Flags(), cfg.Getenv); err != nil {
				return cli.Usage(err)
			}
			if err := refuseZero(cmd.Flags()); err != nil {
				return cli.Usage(err)
			}
			if err := c.Validate(); err != nil {
				return inFlags(err)
			}
			log, err := logs.logger(cmd.ErrOrStderr())
			if err != nil {
				return cli.Usage(err)
			}
			c.Log = log
			return serve(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	bindStore(fs, &c)
	fs.BoolVar(&c.NATSSyncAlways, "nats-sync-always", false, "the server of --nats fsyncs each message before it answers (sync_interval: always): commits are then stored together where that is quicker")
	fs.StringVar(&c.Listen, "listen", "", "`host:port` at which the embedded server listens for clients; port 0 takes a free one")
	showDefault(fs, "listen", defaultListen)
	fs.StringVar(&c.ClientUser, "client-user", "", "`name` that clients must log in with; needed when --listen can be reached from other machines")
	fs.StringVar(&c.ClientPassword, "client-password", "", "password that clients must log in with; better given in the environment")
	fs.IntVar(&c.Partitions, "partitions", 0, "`number` of partitions of the log, fixed once the context exists (default: what is there, or 1)")
	fs.IntVar(&c.Replicas, "replicas", 0, "`number` of replicas of the log, 1 or 3 (default: 3 with --cluster, else 1)")
	fs.StringVar(&c.Database, "database", "", "`URL` of the PostgreSQL database that keeps projections, as postgres://user@host:5432/database, its password better given in the environment; or sqlite:FOLDER (default: the folder views of --data)")
	bindPeers(fs, &c)
	bindLimits(fs, &c)
	fs.BoolVar(&c.NoIndex, "no-index", false, "do not keep the index of all events, which node events and node explain ask")
	bindFeed(fs, &c.Feed)
	logs.bind(cmd)
	cli.BindEnv(fs)
	return cmd
}

// bindStore makes the flags that say where the log is.
func bindStore(fs *pflag.FlagSet, c *Config) {
	fs.StringVar(&c.Data, "data", "", "`folder` in which the embedded server keeps everything")
	showDefault(fs, "data", defaultData)
	fs.StringVar(&c.Context, "context", defaultContext, "`name` of the bounded context")
	fs.StringVar(&c.NATS, "nats", "", "`URL` of an external NATS server to use instead of the embedded one")
	fs.StringVar(&c.Credentials, "credentials", "", "`file` with NATS credentials for --nats")
}

// bindPeers makes the flags that concern the other nodes of the context.
func bindPeers(fs *pflag.FlagSet, c *Config) {
	fs.StringVar(&c.Name, "name", "", "`name` of this node among the others; needed with --cluster (default: its address there)")
	fs.Var(clusterFlag{&c.Cluster}, "cluster", "name=host:port of all `nodes`, with commas between them: where their embedded servers reach one another")
	fs.StringVar(&c.ClusterSecret, "cluster-secret", "", "password that the servers of --cluster show one another; better given in the environment")
	fs.StringVar(&c.PeerListen, "peer-listen", "", "`host:port` at which the other nodes reach this one; port 0 takes a free one (default: 127.0.0.1:0, or the host of --cluster)")
	fs.StringVar(&c.PeerAdvertise, "peer-advertise", "", "`host:port` by which they reach it, if it is another")
	fs.StringVar(&c.PeerCA, "peer-ca", "", "`file` with the authorities (PEM) whose certificates nodes must show one another; with --peer-cert and --peer-key all between them is encrypted")
	fs.StringVar(&c.PeerCert, "peer-cert", "", "`file` with this node's certificate (PEM), good for the host by which the others reach it")
	fs.StringVar(&c.PeerKey, "peer-key", "", "`file` with its private key (PEM)")
	fs.DurationVar(&c.Lease, "lease", cluster.DefaultLease, "`time` after its last sign of life when the others take a node for gone; the same on all")
	fs.StringSliceVar(&c.Hosts, "hosts", nil, "`types` that this node hosts, with commas between them (default: all)")
}

// bindLimits makes the flags that bound what a node takes on.
func bindLimits(fs *pflag.FlagSet, c *Config) {
	fs.DurationVar(&c.Idle, "idle", 2*time.Minute, "`time` after which an aggregate that nobody asked is passivated")
	fs.IntVar(&c.MaxActive, "max-active", 100_000, "`number` of aggregates that may be active")
	fs.IntVar(&c.Queue, "queue", 1024, "`number` of requests that may wait at one aggregate")
	fs.IntVar(&c.MaxInFlight, "max-in-flight", 4096, "`number` of clients' requests that may be under way")
	fs.DurationVar(&c.Timeout, "request-timeout", 10*time.Second, "`time` that a client's request may take")
}

// showDefault has the help tell a default that the flag leaves to the [Config], where
// empty means that it was not given.
func showDefault(fs *pflag.FlagSet, name, value string) { fs.Lookup(name).DefValue = value }

// flagOf says which flag sets a field of the [Config].
var flagOf = map[string]string{
	"Context": "--context", "Data": "--data", "NATS": "--nats", "Credentials": "--credentials", "NATSSyncAlways": "--nats-sync-always",
	"Database": "--database", "Listen": "--listen", "ClientUser": "--client-user", "ClientPassword": "--client-password",
	"Cluster": "--cluster", "ClusterSecret": "--cluster-secret",
	"Name": "--name", "PeerListen": "--peer-listen", "PeerAdvertise": "--peer-advertise",
	"PeerCA": "--peer-ca", "PeerCert": "--peer-cert", "PeerKey": "--peer-key", "Lease": "--lease", "Hosts": "--hosts",
	"Partitions": "--partitions", "Replicas": "--replicas", "Idle": "--idle", "MaxActive": "--max-active",
	"Queue": "--queue", "MaxInFlight": "--max-in-flight", "Timeout": "--request-timeout",
	"Feed.MaxAge": "--feed-age", "Feed.MaxBytes": "--feed-bytes",
}

// inFlags says in the words of the command line what is wrong with a [Config].
func inFlags(err error) error {
	wrong, ok := errors.AsType[*ConfigError](err)
	if !ok || flagOf[wrong.Field] == "" { // the binary's own fault
		return err
	}
	out := &ConfigError{Field: flagOf[wrong.Field], Problem: wrong.Problem}
	if wrong.Other != "" {
		out.Other = flagOf[wrong.Other]
		out.Problem += " (variables of the environment count)"
	}
	return cli.Usage(out)
}

// refuseZero refuses a number that a [Config] would take for not given.
func refuseZero(fs *pflag.FlagSet) error {
	for _, name := range []string{"replicas", "lease", "idle", "max-active", "queue", "max-in-flight", "request-timeout", "feed-age", "feed-bytes"} {
		f := fs.Lookup(name)
		if value := f.Value.String(); f.Changed && (value == "0" || value == "0s") {
			return fmt.Errorf("--%s: it is %s: choose more than nothing", name, value)
		}
	}
	return nil
}

// serve runs a node until ctx ends.
func serve(ctx context.Context, c Config, out io.Writer) error {
	n, err := Start(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The node serves the context %s at %s. Stop it with Ctrl-C.\n", n.config.Context, n.ClientURL())
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "Stopping: answering what is on its way.")
	case <-n.Asked():
		fmt.Fprintln(out, "Leaving, as was asked: handing over, and answering what is on its way.")
	case <-n.Done():
		fmt.Fprintln(out, "Stopping: the node cannot serve any longer.")
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	stopped := n.Stop(stopping)
	if stopped != nil {
		stopped = fmt.Errorf("the node did not stop in order, but whatever was answered is in the log: %w", stopped)
	}
	if err := errors.Join(n.Err(), stopped); err != nil {
		return err
	}
	fmt.Fprintln(out, "Stopped.")
	return nil
}

type logOptions struct{ level, format string }

func (o *logOptions) bind(cmd *cobra.Command) {
	for _, f := range []struct {
		value                *string
		name, standard, what string
		choices              []string
	}{
		{&o.level, "log-level", "info", "what is logged: debug, info, warn or error", []string{"debug", "info", "warn", "error"}},
		{&o.format, "log-format", "text", "how it is logged: text or json", []string{"text", "json"}},
	} {
		cmd.Flags().StringVar(f.value, f.name, f.standard, f.what)
		// It fails only for a flag that is not there, or is there twice.
		_ = cmd.RegisterFlagCompletionFunc(f.name, cobra.FixedCompletions(f.choices, cobra.ShellCompDirectiveNoFileComp))
	}
}

func (o *logOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", o.level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch o.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("--log-format %q: want text or json", o.format)
}

// writeJSON writes one document on a line.
func writeJSON(w io.Writer, document any) error {
	b, err := json.Marshal(document)
	if err != nil {
		return errors.Join(errors.New("encode the output"), err)
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}
