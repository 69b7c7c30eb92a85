package bench

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/node/cli"
)

const defaultTolerance = 0.2

func compareCommand(cfg cli.Config) *cobra.Command {
	var tolerance float64
	cmd := &cobra.Command{
		Use:   "compare OLD.json NEW.json",
		Short: "Compare two documents of bench, and fail when the new one is worse",
		Long: `Compare what 'bench --out' has written: the ratios to the raw engine, and never the times,
which are those of one machine on one day. A ratio is worse when its median is by more than
what is tolerated. The ratio of p99 is not looked at: it varies too much from run to run.

Exit codes: 0 nothing is worse, 1 something is, or is not measured any more, 2 wrong usage.`,
		Example: fmt.Sprintf("  %[1]s bench compare recorded.json today.json\n  %[1]s bench compare recorded.json today.json --tolerance 0.1", cfg.Program),
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tolerance <= 0 || tolerance >= 1 {
				return cli.Usage(fmt.Errorf("--tolerance %v: want a share between 0 and 1, for instance %v", tolerance, defaultTolerance))
			}
			var documents [2]report.Document
			for i, path := range args {
				var err error
				if documents[i], err = report.Read(path); err != nil {
					return cli.Usage(err)
				}
			}
			c := report.Compare(documents[0], documents[1], tolerance)
			c.Write(cmd.OutOrStdout())
			if worse := len(c.Worse()); worse > 0 || len(c.Missing) > 0 {
				return fmt.Errorf("%d of %d ratios are worse by more than %.0f %%, and %d results are missing", worse, len(c.Changes), tolerance*100, len(c.Missing))
			}
			return nil
		},
	}
	cmd.Flags().Float64Var(&tolerance, "tolerance", defaultTolerance, "`share` by which a ratio may be worse")
	return cmd
}
