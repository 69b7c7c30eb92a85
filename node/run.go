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

	"github.com/holdfast-run/holdfast/node/cli"
)

// stopTimeout is how long a node may take to answer what is on its way.
const stopTimeout = 15 * time.Second

func runCommand(d Domain, cfg cli.Config) *cobra.Command {
	c := Config{Types: d.Types}
	var logs logOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a node",
		Long: `Run a node until it is interrupted. It serves one bounded context from an embedded
NATS server, which keeps everything in the data folder and answers a command only when
it is fsynced; or, with --nats, from an external NATS server.

At an interrupt (Ctrl-C, SIGTERM) it answers what is on its way and stops in order. It
may be killed at any moment: whatever was answered is in the log.`,
		Example: fmt.Sprintf(`  %[1]s run
  %[1]s run --data /var/lib/bank --context bank --listen 127.0.0.1:4222
  %[1]s run --nats nats://nats.internal:4222 --credentials node.creds --context bank
  HOLDFAST_CONTEXT=bank %[1]s run`, cfg.Program),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cli.ReadEnv(cmd.Flags(), cfg.Getenv); err != nil {
				return cli.Usage(err)
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
	fs.StringVar(&c.Listen, "listen", "127.0.0.1:4222", "`host:port` at which the embedded server listens for clients; port 0 takes a free one")
	fs.StringVar(&c.ClientUser, "client-user", "", "`name` that clients must log in with; needed when --listen can be reached from other machines")
	fs.StringVar(&c.ClientPassword, "client-password", "", "password that clients must log in with; better given in the environment")
	fs.IntVar(&c.Partitions, "partitions", 0, "`number` of partitions of the log, fixed once the context exists (default: what is there, or 1)")
	fs.IntVar(&c.Replicas, "replicas", 1, "`number` of replicas of the log, 1 or 3; 3 with --nats only")
	fs.DurationVar(&c.Idle, "idle", 2*time.Minute, "`time` after which an aggregate that nobody asked is passivated")
	fs.IntVar(&c.MaxActive, "max-active", 100_000, "`number` of aggregates that may be active")
	fs.IntVar(&c.Queue, "queue", 1024, "`number` of requests that may wait at one aggregate")
	fs.IntVar(&c.MaxInFlight, "max-in-flight", 4096, "`number` of clients' requests that may be under way")
	fs.DurationVar(&c.Timeout, "request-timeout", 10*time.Second, "`time` that a client's request may take")
	logs.bind(fs)
	cli.BindEnv(fs)
	return cmd
}

// bindStore makes the flags that say where the log is.
func bindStore(fs *pflag.FlagSet, c *Config) {
	fs.StringVar(&c.Data, "data", "holdfast-data", "`folder` in which the embedded server keeps everything")
	fs.StringVar(&c.Context, "context", "demo", "`name` of the bounded context")
	fs.StringVar(&c.NATS, "nats", "", "`URL` of an external NATS server to use instead of the embedded one")
	fs.StringVar(&c.Credentials, "credentials", "", "`file` with NATS credentials for --nats")
}

// serve runs a node until ctx ends.
func serve(ctx context.Context, c Config, out io.Writer) error {
	n, err := Start(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The node serves the context %s at %s. Stop it with Ctrl-C.\n", n.config.Context, n.ClientURL())
	<-ctx.Done()
	fmt.Fprintln(out, "Stopping: answering what is on its way.")
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := n.Stop(stopping); err != nil {
		return fmt.Errorf("the node did not stop in order, but whatever was answered is in the log: %w", err)
	}
	fmt.Fprintln(out, "Stopped.")
	return nil
}

type logOptions struct{ level, format string }

func (o *logOptions) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.level, "log-level", "info", "what is logged: debug, info, warn or error")
	fs.StringVar(&o.format, "log-format", "text", "how it is logged: text or json")
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
