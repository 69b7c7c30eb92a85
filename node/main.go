package node

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/sagas"
)

// A Domain is what a binary serves.
type Domain struct {
	// Name of the binary, for help texts.
	Name string
	// Types are the aggregate types.
	Types []holdfast.Definition
	// Sagas coordinate them.
	Sagas []*sagas.Saga
	// Projections are its read models.
	Projections []*projections.Projection
}

// types are all that have something in the log.
func (d Domain) types() []holdfast.Definition { return typesOf(d.Types, d.Sagas) }

// Main runs a binary's command line and exits: run starts a node of the domain; send,
// apply, get and history talk to one as clients, sagas, projections and parked as an operator;
// verify checks a log.
// More commands may stand beside them.
func Main(d Domain, more ...*cobra.Command) {
	cfg := cli.Standard(d.Name)
	os.Exit(cli.Execute(context.Background(), Command(d, cfg, more...), cfg))
}

// Command is the command line of [Main], to be run by [cli.Execute].
func Command(d Domain, cfg cli.Config, more ...*cobra.Command) *cobra.Command {
	if cfg.Program == "" {
		cfg.Program = d.Name
	}
	root := &cobra.Command{
		Use:   cfg.Program,
		Short: "Aggregates as persistent actors, anchored in NATS JetStream",
		Long: `A node serves the aggregates of one bounded context: commands come as NATS
messages, and are answered when what they decided is durable.

Start one with '` + cfg.Program + ` run'. The other commands talk to a node as any NATS client
would, or look after its log.`,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.AddCommand(runCommand(d, cfg), verifyCommand(d, cfg), membersCommand(cfg), whereCommand(cfg), leaveCommand(cfg))
	root.AddCommand(operatorCommands(d, cfg)...)
	root.AddCommand(cli.Commands(cfg)...)
	root.AddCommand(more...)
	return root
}
