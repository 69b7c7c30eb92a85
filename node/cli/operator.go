package cli

import (
	"cmp"
	"context"
	"fmt"
	"os/user"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-run/holdfast/messages"
)

// An Access is how the commands of operators reach the nodes, which those of clients do not.
type Access struct {
	// Bind makes the flags that say where the nodes are. An environment variable may set
	// each.
	Bind func(*pflag.FlagSet)
	// Find checks these, and says whom they mean. Its error is one of usage.
	Find func() (Nodes, error)
}

// Nodes are those of a context.
type Nodes struct {
	Context messages.Context
	// Name is where they are, for people, and Flag the one that says so.
	Name, Flag string
	// Connect connects to them as an operator.
	Connect func(...nats.Option) (*nats.Conn, error)
}

// operating are the flags that all commands of operators have.
type operating struct {
	access  Access
	serving string // what a node does that can be asked; sagas by default
	nodes   Nodes
	timeout time.Duration
	json    bool
	encoded bool
}

// seesProjections is what a node does that has some.
const seesProjections = "sees to projections: is one running, and has its domain any?"

// What a node does that has an inbox, one that answers for all that is parked, and one that
// writes the feed.
const (
	executesInbox = "has an inbox: is one running?"
	seesParked    = "has an inbox, or projections: is one running?"
	writesFeed    = "writes the feed: is one running, without --no-feed?"
)

// indexing is what a node does that has an index.
const indexing = "has an index: is one running?"

func (o *operating) bind(fs *pflag.FlagSet) {
	o.bindPlain(fs)
	fs.BoolVar(&o.encoded, "encoded", false, encodedHelp)
}

// bindPlain makes the flags of commands that name no aggregate.
func (o *operating) bindPlain(fs *pflag.FlagSet) {
	o.access.Bind(fs)
	fs.DurationVar(&o.timeout, "timeout", askTimeout, "how long to go on trying")
	fs.BoolVar(&o.json, "json", false, "write JSON, one document a line")
	BindEnv(fs)
}

func (o *operating) check() (err error) {
	if o.timeout <= 0 {
		return fmt.Errorf("--timeout %v: want more than nothing, for instance 10s", o.timeout)
	}
	o.nodes, err = o.access.Find()
	return err
}

// runner makes the RunE of a command that asks the nodes, once its arguments are checked.
func (o *operating) runner(cfg Config, check func(args []string) error, run func(ctx context.Context, c *client, args []string) error) func(*cobra.Command, []string) error {
	return cfg.runChecked(o.check, &o.json, func(ctx context.Context, args []string) error {
		if err := check(args); err != nil {
			return err
		}
		c, err := o.connect(ctx, cfg)
		if err != nil {
			return err
		}
		defer c.close()
		return run(ctx, c, args)
	})
}

func (o *operating) connect(ctx context.Context, cfg Config) (*client, error) {
	c := newClient(ctx, cfg, o.nodes.Context, o.timeout)
	c.at = place{name: o.nodes.Name, flag: o.nodes.Flag}
	c.at.nobody = fmt.Sprintf("no node of the context %s (--context) at %s (%s) %s",
		c.context, c.at.name, c.at.flag, cmp.Or(o.serving, "sees to sagas: is one running, and has its domain any?"))
	var err error
	if c.nc, err = o.nodes.Connect(c.natsOptions()...); err != nil {
		c.end(err)
		return nil, err
	}
	return c, nil
}

// osUser is who runs the command, as the operating system says.
func osUser() (string, error) {
	u, err := user.Current()
	if err != nil || messages.CheckUser(u.Username) != nil {
		return "", usagef("--as: the operating system does not say who you are: say it")
	}
	return u.Username, nil
}
