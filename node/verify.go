package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
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

A node may be running on the data folder or not. The exit code is 0 when nothing was
found, and 1 otherwise; each finding is told with its place.`,
		Example: fmt.Sprintf(`  %[1]s verify --data /var/lib/bank --context bank
  %[1]s verify account
  %[1]s verify account/a-1 --json
  %[1]s verify --nats nats://nats.internal:4222 --credentials admin.creds`, cfg.Program),
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.ReadEnv(cmd.Flags(), cfg.Getenv); err != nil {
				return cli.Usage(err)
			}
			if err := v.parse(args); err != nil {
				return cli.Usage(err)
			}
			v.out, v.progress = cmd.OutOrStdout(), io.Discard
			if cfg.Terminal && !v.json {
				v.progress = cmd.ErrOrStderr()
			}
			return v.run(cmd.Context())
		},
	}
	bindStore(cmd.Flags(), &v.config)
	cmd.Flags().BoolVar(&v.json, "json", false, "write JSON, one document a line")
	cli.BindEnv(cmd.Flags())
	return cmd
}

// A verification is one run of the verb.
type verification struct {
	domain   Domain
	config   Config
	context  messages.Context
	filter   persistence.Filter
	json     bool
	out      io.Writer
	progress io.Writer
}

func (v *verification) parse(args []string) (err error) {
	if v.context, err = messages.ParseContext(v.config.Context); err != nil || len(args) == 0 {
		return err
	}
	ref, err := holdfast.ParseRef(args[0])
	if err != nil { // a type alone
		ref = holdfast.Ref{Type: args[0]}
	}
	if _, err := messages.ParseType(ref.Type); err != nil {
		return err
	}
	v.filter = persistence.Filter(ref)
	return nil
}

func (v *verification) run(ctx context.Context) (err error) {
	dial, stop, err := v.reach(ctx)
	if err != nil {
		return err
	}
	defer stop()
	store, closeStore, err := v.open(ctx, dial)
	if err != nil {
		return err
	}
	defer closeStore()
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
	return v.summarise(verified)
}

func (v *verification) definitions() map[string]holdfast.Definition {
	out := map[string]holdfast.Definition{}
	for _, def := range v.domain.Types {
		out[def.Name()] = def
	}
	return out
}

// reach finds the NATS server that has the log: an external one, the one of the node that
// runs on the data folder, or one of its own on that folder.
func (v *verification) reach(ctx context.Context) (dial func() (*nats.Conn, error), stop func(), err error) {
	options := []nats.Option{nats.Name("holdfast verify"), nats.ReconnectBufSize(-1)}
	if v.config.NATS != "" {
		if v.config.Credentials != "" {
			options = append(options, nats.UserCredentials(v.config.Credentials))
		}
		return func() (*nats.Conn, error) { return nats.Connect(v.config.NATS, options...) }, func() {}, nil
	}
	if info, err := os.Stat(v.config.Data); err != nil || !info.IsDir() {
		return nil, nil, fmt.Errorf("there is no data folder %q: name it with --data", v.config.Data)
	}
	server, err := natsd.Start(ctx, natsd.Config{DataDir: v.config.Data, Context: v.config.Context, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		return func() (*nats.Conn, error) { return server.Connect(natsd.Node, options...) }, server.Stop, nil
	}
	if !errors.Is(err, natsd.ErrFolderInUse) {
		return nil, nil, err
	}
	admin, err := natsd.ReadAdmin(v.config.Data)
	if err != nil {
		return nil, nil, err
	}
	options = append(options, nats.UserInfo(admin.User, admin.Password))
	return func() (*nats.Conn, error) { return nats.Connect(admin.URL, options...) }, func() {}, nil
}

// open opens the log, which must be there.
func (v *verification) open(ctx context.Context, dial func() (*nats.Conn, error)) (*jetstream.Store, func(), error) {
	var conns []*nats.Conn
	closeAll := func() {
		for _, nc := range conns {
			nc.Close()
		}
	}
	for range 2 {
		nc, err := dial()
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("connect to the NATS server that has the log: %w", err)
		}
		conns = append(conns, nc)
	}
	store, err := openExisting(ctx, v.context, conns[0], conns[1])
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	return store, func() { store.Close(); closeAll() }, nil
}

func openExisting(ctx context.Context, c messages.Context, publish, read *nats.Conn) (*jetstream.Store, error) {
	js, err := natsjs.New(read)
	if err != nil {
		return nil, err
	}
	if _, err := js.Stream(ctx, c.LogStream(0)); err != nil {
		if errors.Is(err, natsjs.ErrStreamNotFound) {
			return nil, fmt.Errorf("there is no log of a context %q here: name the context with --context", c)
		}
		return nil, fmt.Errorf("look for the log of %s: %w", c, err)
	}
	return jetstream.Open(ctx, jetstream.Config{Context: c, Publish: publish, Read: []*nats.Conn{read}})
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
		return cli.Told(fmt.Errorf("%s", found(r.Findings)))
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
