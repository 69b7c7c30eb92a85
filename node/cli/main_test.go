package cli_test

import (
	"context"
	"os"
	"testing"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/node/cli"
)

// asNode in the environment makes the test binary a node's binary, for tests that have
// to kill one.
const asNode = "HOLDFAST_TEST_AS_NODE"

func TestMain(m *testing.M) {
	if os.Getenv(asNode) != "" {
		cfg := cli.Standard("node")
		os.Exit(cli.Execute(context.Background(), newRoot(cfg), cfg))
	}
	goleak.VerifyTestMain(m)
}

func newRoot(cfg cli.Config) *cobra.Command {
	root := &cobra.Command{Use: "node"}
	root.AddCommand(cli.Commands(cfg)...)
	return root
}
