package node

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/node/cli"
)

// connectOperator is connectRunning for a command, whose error says what to do.
func (c Config) connectOperator(options ...nats.Option) (*nats.Conn, error) {
	nc, err := c.connectRunning(options...)
	if errors.Is(err, natsd.ErrNoAdmin) {
		return nil, fmt.Errorf("no node runs on the folder %s: name it with --data, or the external NATS server with --nats", c.Data)
	}
	return nc, err
}

// operatorCommands are those with which operators ask the nodes.
func operatorCommands(d Domain, cfg cli.Config) []*cobra.Command {
	return []*cobra.Command{
		cli.SagasCommand(cfg, operatorAccess()), cli.EventsCommand(cfg, operatorAccess()), cli.ExplainCommand(cfg, operatorAccess()),
		cli.ProjectionsCommand(cfg, operatorAccess(), asOfCommand(d, cfg)), cli.ParkedCommand(cfg, operatorAccess()),
		cli.InboxCommand(cfg, operatorAccess()), cli.FeedCommand(cfg, operatorAccess()),
	}
}

// operatorAccess is for one command: it has the flags of one.
func operatorAccess() cli.Access {
	var c Config
	return cli.Access{
		Bind: func(fs *pflag.FlagSet) { bindStore(fs, &c) },
		Find: func() (cli.Nodes, error) {
			if err := c.validatePlace(); err != nil {
				return cli.Nodes{}, inFlags(err)
			}
			full := c.withDefaults()
			out := cli.Nodes{Context: messages.Context(full.Context), Name: full.Data, Flag: "--data", Connect: full.connectOperator}
			if c.NATS != "" {
				out.Name, _ = redact(c.NATS) // which has been parsed
				out.Flag = "--nats"
			}
			return out, nil
		},
	}
}
