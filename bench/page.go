package bench

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/node/cli"
)

func pageCommand(cfg cli.Config) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "page PAGE.md",
		Short: "Write the tables of a page anew, from documents of bench",
		Long: `Write the tables of a page in Markdown anew, from what 'bench --out' has written, so that
the page says what was measured and nothing else. A line

  <!-- bench: FILE.json -->

says from which file, seen from the page; all until the next line

  <!-- end of bench -->

is replaced by where and how it was measured, and a table for each mode.

Exit codes: 0 written, 1 with --check: the page says something else, 2 wrong usage.`,
		Example: fmt.Sprintf("  %[1]s bench page docs/benchmarks.md\n  %[1]s bench page docs/benchmarks.md --check", cfg.Program),
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := args[0]
			old, err := os.ReadFile(path)
			if err != nil {
				return cli.Usage(err)
			}
			read := func(file string) (report.Document, error) {
				return report.Read(filepath.Join(filepath.Dir(path), filepath.FromSlash(file)))
			}
			page, err := report.Page(string(old), read, titleOf)
			switch {
			case err != nil:
				return cli.Usage(fmt.Errorf("%s: %w", path, err))
			case page == string(old):
				return nil
			case check:
				return fmt.Errorf("%s does not say what its documents say: run '%s bench page %s'", path, cfg.Program, path)
			}
			return os.WriteFile(path, []byte(page), 0o644)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing, and fail when the page would change")
	return cmd
}
