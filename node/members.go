package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/cluster"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/node/cli"
)

// Asked is closed when an operator has asked the node to leave: Stop is then to be called.
func (n *Node) Asked() <-chan struct{} { return n.member.Asked() }

// rosterPatience is how long an operator's question may take.
const rosterPatience = 10 * time.Second

// An inquiry is a command that asks who is there.
type inquiry struct {
	config Config
	json   bool
	out    io.Writer
	now    func() time.Time
}

// command makes the verb; ask is what it does with the roster.
func (q *inquiry) command(cfg cli.Config, cmd *cobra.Command, ask func(context.Context, *cluster.Roster, []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := cli.ReadEnv(cmd.Flags(), cfg.Getenv); err != nil {
			return cli.Usage(err)
		}
		if err := q.config.validatePlace(); err != nil {
			return inFlags(err)
		}
		q.config, q.out = q.config.withDefaults(), cmd.OutOrStdout()
		ctx, cancel := context.WithTimeout(cmd.Context(), rosterPatience)
		defer cancel()
		nc, err := q.config.connectOperator(nats.Name("holdfast " + cmd.Name()))
		if err != nil {
			return err
		}
		defer nc.Close()
		roster, err := cluster.ReadRoster(ctx, nc, messages.Context(q.config.Context))
		if errors.Is(err, cluster.ErrNoMembers) {
			return fmt.Errorf("no node of a context %q has ever been here: name the context with --context", q.config.Context)
		}
		if err != nil {
			return err
		}
		return ask(ctx, roster, args)
	}
	bindStore(cmd.Flags(), &q.config)
	cmd.Flags().BoolVar(&q.json, "json", false, "write JSON, one document a line")
	cli.BindEnv(cmd.Flags())
	return cmd
}

func membersCommand(cfg cli.Config) *cobra.Command {
	q := &inquiry{now: cfg.Now}
	if q.now == nil {
		q.now = time.Now
	}
	return q.command(cfg, &cobra.Command{
		Use:   "members",
		Short: "Show the nodes of a context",
		Long: `Show the nodes of a context: since when each is there, how many aggregates are active on
it and how many requests a second they answer, and when it gave its last sign of life.
A node that gives none for the length of its lease is taken for gone.`,
		Example: fmt.Sprintf(`  %[1]s members
  %[1]s members --nats nats://nats.example:4222 --context bank --json`, cfg.Program),
		Args: cobra.NoArgs,
	}, func(_ context.Context, r *cluster.Roster, _ []string) error { return q.show(r.Members()) })
}

func (q *inquiry) show(members []cluster.Info) error {
	slices.SortFunc(members, func(a, b cluster.Info) int { return strings.Compare(a.Name, b.Name) })
	if q.json {
		for _, m := range members {
			if err := writeJSON(q.out, m); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(q.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tADDRESS\tVERSION\tSINCE\tACTIVE\tREQUESTS/S\tLAST SIGN\tLEASE\tTYPES")
	for _, m := range members {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%.0f\t%v ago\t%v\t%s\n", m.Name, m.State, m.Address, orNone(m.Version),
			m.Joined.UTC().Format("2006-01-02T15:04:05Z"), m.Active, m.Rate,
			q.now().Sub(m.Renewed).Round(time.Millisecond), m.Lease, strings.Join(m.Types, ","))
	}
	return w.Flush()
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func whereCommand(cfg cli.Config) *cobra.Command {
	q := &inquiry{}
	return q.command(cfg, &cobra.Command{
		Use:   "where REF",
		Short: "Show which node owns an aggregate",
		Example: fmt.Sprintf(`  %[1]s where account/a-1
  %[1]s where account/a-1 --json`, cfg.Program),
		Args: cobra.ExactArgs(1),
	}, func(_ context.Context, r *cluster.Roster, args []string) error {
		ref, err := holdfast.ParseRef(args[0])
		if err != nil {
			return cli.Usage(err)
		}
		owner, ok := r.Owner(ref)
		if !ok {
			return fmt.Errorf("no node hosts the type %s", ref.Type)
		}
		if q.json {
			return writeJSON(q.out, map[string]any{"ref": args[0], "node": owner})
		}
		_, err = fmt.Fprintf(q.out, "%s is owned by %s at %s\n", ref, owner.Name, owner.Address)
		return err
	})
}

func leaveCommand(cfg cli.Config) *cobra.Command {
	q := &inquiry{}
	return q.command(cfg, &cobra.Command{
		Use:   "leave NAME",
		Short: "Have a node hand over what it owns, and stop",
		Long: `Have a node hand over what it owns to the others, and stop, as SIGTERM does. No request
fails. The command ends when the node has gone.`,
		Example: fmt.Sprintf(`  %[1]s leave n2
  %[1]s leave n2 --nats nats://nats.example:4222 --context bank`, cfg.Program),
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, r *cluster.Roster, args []string) error {
		var found []cluster.Info
		var names []string
		for _, m := range r.Members() {
			names = append(names, m.Name)
			if m.Name == args[0] || m.ID == args[0] {
				found = append(found, m)
			}
		}
		switch len(found) {
		case 0:
			return fmt.Errorf("there is no node %s: there are %s", args[0], strings.Join(names, ", "))
		case 1:
		default:
			return fmt.Errorf("%d nodes are called %s: name one by its id, which members --json shows", len(found), args[0])
		}
		if err := r.Ask(ctx, found[0]); err != nil {
			return err
		}
		if err := r.AwaitGone(ctx, found[0]); err != nil {
			return fmt.Errorf("%s was asked to leave, and is still there: %w", args[0], err)
		}
		if q.json {
			return writeJSON(q.out, map[string]any{"left": args[0]})
		}
		_, err := fmt.Fprintf(q.out, "%s has left.\n", args[0])
		return err
	})
}
