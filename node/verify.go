package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
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
Each finding is told with its place.

Exit codes: 0 nothing was found, 1 it could not be looked, 2 wrong usage, 4 something
was found. The last line of --json has "findings" when it was looked, and "error" when not.`,
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
		for _, def := range d.Types {
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

// tell has an error among the JSON documents, if these are wanted.
func (v *verification) tell(err error) error {
	if err == nil {
		return nil
	}
	if _, told := errors.AsType[*foundError](err); told {
		return cli.End(exitFindings, true, err)
	}
	code := cli.ExitFailure
	if errors.Is(err, natsd.ErrDamagedBlock) {
		code = exitFindings
	}
	if v.json {
		if err := writeJSON(v.out, map[string]any{"error": map[string]any{"code": "failed", "message": err.Error()}}); err != nil {
			return err
		}
	}
	return cli.End(code, v.json, err)
}

// exitFindings is verify's exit code when something is wrong with the log.
const exitFindings = 4

// A foundError says that there are findings, which have been told.
type foundError struct{ findings uint64 }

func (e *foundError) Error() string { return found(e.findings) }

func (v *verification) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	nc, stop, err := v.reach(ctx, nats.Name("holdfast verify"), nats.ReconnectBufSize(-1), nats.ErrorHandler(
		func(_ *nats.Conn, _ *nats.Subscription, err error) {
			// Whatever else NATS says without being asked has an answer that fails.
			if errors.Is(err, nats.ErrPermissionViolation) {
				cancel(fmt.Errorf("%w: verify needs a login that may read JetStream: leave out --nats on the machine of the node, or give --credentials: %w", errNotAllowed, err))
			}
		}))
	if err != nil {
		return err
	}
	defer stop()
	err = v.read(ctx, nc)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errNotAllowed) {
		return cause // and not what followed from it
	}
	return err
}

var errNotAllowed = errors.New("the NATS server does not let this login read the log")

// read verifies the log on a server.
func (v *verification) read(ctx context.Context, nc *nats.Conn) error {
	store, err := v.open(ctx, nc)
	if err != nil {
		return err
	}
	defer store.Close()
	bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(v.progress), progressbar.OptionSetDescription("verifying"),
		progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionThrottle(100e6))
	var writeErr error
	verified, err := persistence.Verify(ctx, store, persistence.VerifyConfig{
		Context: v.context, Filter: v.filter, Definitions: v.definitions(),
		Report: func(f persistence.Finding) { writeErr = errors.Join(writeErr, v.report(f)) },
		Progress: func(done, total uint64) {
			bar.ChangeMax64(int64(total))
			_ = bar.Set64(int64(done)) // a bar that cannot be drawn is no reason to stop
		},
	})
	_ = bar.Finish()
	if err = errors.Join(err, writeErr); err != nil {
		return err
	}
	if !v.filter.All() && verified.Commits == 0 && verified.Findings == 0 {
		return fmt.Errorf("nothing of %s is in the log of %s", v.argument, v.context)
	}
	return v.summarise(verified)
}

func (v *verification) definitions() map[string]holdfast.Definition {
	out := map[string]holdfast.Definition{}
	for _, def := range v.domain.Types {
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
	nc, err := nats.Connect(admin.URL, append(options, nats.UserInfo(admin.User, admin.Password))...)
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
		return nil, fmt.Errorf("there is no log of a context %q here: name the context with --context", v.context)
	}
	return store, err
}

func (v *verification) report(f persistence.Finding) error {
	ref := ""
	if f.Ref.ID != "" {
		if id, err := messages.EncodeID(f.Ref.ID); err == nil {
			ref = messages.FormatRef(f.Ref.Type, id)
		}
	}
	if v.json {
		return writeJSON(v.out, map[string]any{"finding": f.Fault, "ref": ref, "position": f.Position.String(), "what": f.What})
	}
	_, err := fmt.Fprintf(v.out, "%-12s %-24s at %s: %s\n", f.Fault, ref, f.Position, f.What)
	return err
}

func (v *verification) summarise(r persistence.Verified) error {
	if v.json {
		if err := writeJSON(v.out, map[string]any{
			"context": v.context, "commits": r.Commits, "events": r.Events, "aggregates": r.Aggregates, "findings": r.Findings,
		}); err != nil {
			return err
		}
	} else if _, err := fmt.Fprintf(v.out, "Verified %d commits with %d events of %d aggregates: %s.\n",
		r.Commits, r.Events, r.Aggregates, found(r.Findings)); err != nil {
		return err
	}
	if r.Findings > 0 {
		return &foundError{r.Findings}
	}
	return nil
}

func found(n uint64) string {
	switch n {
	case 0:
		return "nothing is wrong"
	case 1:
		return "1 finding"
	}
	return fmt.Sprintf("%d findings", n)
}
