package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

func verifyCommand(d Domain, cfg cli.Config) *cobra.Command {
	v := verification{domain: d}
	cmd := &cobra.Command{
		Use:   "verify [TYPE[/ID]]",
		Short: "Check that the log is whole and unaltered",
		Long: `Read the log and check every commit: that none is missing, that none was altered (each
carries a digest over the one before), and that every event can be read by this binary.
All of it, or what belongs to one type or one aggregate.

A node may be running on the data folder or not. Nothing is added to the log.
Each finding is told with its place. Of a log with replicas each is read, and it is told
on which of them a finding is.

Exit codes: 0 nothing was found, 1 it could not be looked, or not at every replica, 2 wrong
usage, 4 something was found. The last line of --json has "findings" when it was looked, and
"error" when not.`,
		Example: fmt.Sprintf(`  %[1]s verify --data /var/lib/bank --context bank
  %[1]s verify account
  %[1]s verify account/a-1 --json
  %[1]s verify --nats nats://nats.internal:4222 --credentials admin.creds`, cfg.Program),
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeTypes(d),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.ReadEnv(cmd.Flags(), cfg.Getenv); err != nil {
				return cli.Usage(err)
			}
			if err := v.parse(args); err != nil {
				return cli.Usage(err)
			}
			v.out, v.progress = cmd.OutOrStdout(), io.Discard
			if cfg.ErrTerminal {
				v.progress = cmd.ErrOrStderr()
			}
			return v.tell(v.run(cmd.Context()))
		},
	}
	bindStore(cmd.Flags(), &v.config)
	cmd.Flags().BoolVar(&v.json, "json", false, "write JSON, one document a line")
	cli.BindEnv(cmd.Flags())
	return cmd
}

// completeTypes completes the one argument to the types of the domain.
func completeTypes(d Domain) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var types []cobra.Completion
		for _, def := range d.types() {
			types = append(types, def.Name())
		}
		return types, cobra.ShellCompDirectiveNoFileComp
	}
}

// A verification is one run of the verb.
type verification struct {
	domain   Domain
	config   Config
	context  messages.Context
	filter   persistence.Filter
	argument string // that filter was made of
	json     bool
	out      io.Writer
	progress io.Writer
}

// parse reads the command line. Its errors are of usage.
func (v *verification) parse(args []string) error {
	if err := v.config.validatePlace(); err != nil {
		return inFlags(err)
	}
	v.config = v.config.withDefaults()
	v.context = messages.Context(v.config.Context)
	if len(args) == 0 {
		return nil
	}
	ref, err := holdfast.ParseRef(args[0])
	if err != nil { // a type alone
		ref = holdfast.Ref{Type: args[0]}
	}
	if _, err := messages.ParseType(ref.Type); err != nil {
		return err
	}
	v.filter, v.argument = persistence.Filter(ref), args[0]
	return nil
}

func (v *verification) run(ctx context.Context) error { return v.over(ctx, v.read) }

// over calls read with a connection to the NATS server that has the log.
func (v *verification) over(ctx context.Context, read func(context.Context, *nats.Conn) error) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	nc, stop, err := v.reach(ctx, nats.Name("holdfast verify"), nats.ReconnectBufSize(-1), nats.ErrorHandler(
		func(_ *nats.Conn, _ *nats.Subscription, err error) {
			// Whatever else NATS says without being asked has an answer that fails.
			if errors.Is(err, nats.ErrPermissionViolation) {
				cancel(notAllowed(err))
			}
		}))
	if err != nil {
		return err
	}
	defer stop()
	err = read(ctx, nc)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errNotAllowed) {
		return cause // and not what followed from it
	}
	return err
}

var errNotAllowed = errors.New("the NATS server does not let this login read the log")

func notAllowed(err error) error {
	return fmt.Errorf("%w: the command needs a login that may read JetStream: leave out --nats on the machine of the node, or give --credentials: %w", errNotAllowed, err)
}

// read verifies the log on a server: each replica of it, if there are several.
func (v *verification) read(ctx context.Context, nc *nats.Conn) error {
	store, err := v.open(ctx, nc)
	if err != nil {
		return err
	}
	defer store.Close()
	partitions, err := store.Describe(ctx)
	if err != nil {
		return err
	}
	replicas, err := v.replicas(partitions)
	if err != nil {
		return err
	}
	if replicas == nil {
		l, err := v.look(ctx, store, "")
		if err = errors.Join(err, l.failed); err != nil {
			return err
		}
		return v.summarise(l)
	}
	var looks []look
	for _, replica := range replicas {
		l, err := v.look(ctx, store, replica)
		if err != nil {
			return err
		}
		looks = append(looks, l)
	}
	return v.summariseAll(looks)
}

// replicas are the servers that keep a copy of what is to be verified, by name; none when
// there is one copy of everything.
func (v *verification) replicas(partitions []persistence.Partition) ([]string, error) {
	if v.filter.ID != "" {
		sub, err := persistence.LogSubject(v.context, holdfast.Ref(v.filter), uint32(len(partitions)))
		if err != nil {
			return nil, err
		}
		partitions = partitions[sub.Partition : sub.Partition+1]
	}
	var names []string
	several := false
	for _, p := range partitions {
		names = append(names, p.Replicas...)
		several = several || len(p.Replicas) > 1
	}
	if !several {
		return nil, nil
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// A look is what was seen of one replica, or of the only copy.
type look struct {
	replica string // empty: any
	seen    persistence.Verified
	failed  error // why not all of it was
}

// look verifies one replica. The error is that of writing what is found.
func (v *verification) look(ctx context.Context, store *jetstream.Store, replica string) (look, error) {
	what := "verifying"
	if replica != "" {
		what += " " + replica
	}
	bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(v.progress), progressbar.OptionSetDescription(what),
		progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionThrottle(100e6))
	var writeErr error
	verified, err := persistence.Verify(ctx, store, persistence.VerifyConfig{
		Context: v.context, Filter: v.filter, Replica: replica, Definitions: v.definitions(),
		Report: func(f persistence.Finding) { writeErr = errors.Join(writeErr, v.report(f, replica)) },
		Progress: func(done, total uint64) {
			bar.ChangeMax64(int64(total))
			_ = bar.Set64(int64(done)) // a bar that cannot be drawn is no reason to stop
		},
	})
	_ = bar.Finish()
	return look{replica: replica, seen: verified, failed: err}, writeErr
}

func (v *verification) definitions() map[string]holdfast.Definition {
	out := map[string]holdfast.Definition{}
	for _, def := range v.domain.types() {
		out[def.Name()] = def
	}
	return out
}

// reach connects to the NATS server that has the log: an external one, the one of the
// node that runs on the data folder, or one of its own on that folder.
func (v *verification) reach(ctx context.Context, options ...nats.Option) (nc *nats.Conn, stop func(), err error) {
	if v.config.NATS != "" {
		nc, err = v.config.connect(options...)
		if err != nil {
			return nil, nil, err
		}
		return nc, nc.Close, nil
	}
	if info, err := os.Stat(v.config.Data); err != nil || !info.IsDir() {
		return nil, nil, fmt.Errorf("there is no data folder %q: name it with --data", v.config.Data)
	}
	server, inUse := natsd.Start(ctx, natsd.Config{
		DataDir: v.config.Data, Context: v.config.Context, CheckBlocksOf: v.isLog, Logger: slog.New(slog.DiscardHandler),
	})
	if inUse == nil {
		nc, err = server.Connect(natsd.Node, options...)
		if err != nil {
			server.Stop()
			return nil, nil, err
		}
		return nc, server.Stop, nil // which closes nc
	}
	if !errors.Is(inUse, natsd.ErrFolderInUse) {
		return nil, nil, inUse
	}
	nc, err = v.config.connectRunning(options...)
	if errors.Is(err, natsd.ErrNoAdmin) {
		return nil, nil, inUse // by what does not listen, such as another verify
	}
	if err != nil {
		return nil, nil, err
	}
	return nc, nc.Close, nil
}

// connectRunning connects, as an operator, to the external NATS server, or to that of the
// node that runs on the data folder.
func (c Config) connectRunning(options ...nats.Option) (*nats.Conn, error) {
	if c.NATS != "" {
		return c.connect(options...)
	}
	admin, err := natsd.ReadAdmin(c.Data)
	if err != nil {
		return nil, err
	}
	nc, err := natsd.Dial(admin.URL, append(options, nats.UserInfo(admin.User, admin.Password))...)
	if err != nil {
		return nil, fmt.Errorf("connect to the node that runs on %s: %w", c.Data, err)
	}
	return nc, nil
}

// isLog tells the streams of the log.
func (v *verification) isLog(stream string) bool {
	number, found := strings.CutPrefix(stream, strings.TrimSuffix(v.context.LogStream(0), "0"))
	_, err := strconv.ParseUint(number, 10, 32)
	return found && err == nil
}

// openPatience is how long verify waits for a server that does not answer about the log.
const openPatience = 15 * time.Second

// open opens the log, which must be there.
func (v *verification) open(ctx context.Context, nc *nats.Conn) (*jetstream.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	store, err := jetstream.Open(ctx, jetstream.Config{
		Context: v.context, Existing: true, Read: []*nats.Conn{nc}, Logger: slog.New(slog.DiscardHandler),
	})
	if errors.Is(err, jetstream.ErrNoLog) {
		// A client sees what clients may read, and cannot list the streams.
		if _, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.LIST", nil); errors.Is(err, nats.ErrNoResponders) {
			return nil, notAllowed(err)
		}
		return nil, fmt.Errorf("there is no log of a context %q here: name the context with --context", v.context)
	}
	return store, err
}
