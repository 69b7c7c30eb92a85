package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const defaultConcurrency = 64

type applyOptions struct {
	options
	format
	concurrency int
	restart     bool
}

func applyCommand(cfg Config) *cobra.Command {
	o := &applyOptions{}
	cmd := &cobra.Command{
		Use:   "apply FILE.ndjson",
		Short: "Send the commands of a file, each of them once",
		Long: `Send the commands of a file (or of standard input: -), one JSON object a line:

  {"ref":"account/a-1","command":"Deposit","data":{"amount":100}}

with the keys ref, command, id, data, user and expectedVersion; the first two are
required. The lines of one aggregate are sent in order, those of several at once. A line
that is rejected or malformed is listed, and the others go on. A line that fails and may
be tried again stops the lines that follow it in the same aggregate.

apply can be stopped or killed at any time: run it again and it goes on, and nothing
takes effect twice. For that it keeps FILE.ndjson.LOG.progress beside the file, one for
each log that the file is applied to, also when all is done: a file that is applied once
more sends nothing, and tells the outcomes again. A changed file is refused while the
progress file is there; --restart begins anew, and lines may then take effect again if
their ids have been forgotten: an aggregate remembers its last 1,024 commands.

A line without an id gets one of the line's number and content, so inserting or deleting
lines moves the ids of those that follow: give your own "id" to be independent of that.
A second file whose line of the same number is the same is a repetition of the first:
give each its own --batch if it is not meant to be. From standard input no progress is
kept: sending it again is safe only as far as an aggregate remembers.
` + exitHelp + rejectedHelp + `
When lines were rejected and nothing else went wrong, it is 3.`,
		Example: strings.ReplaceAll(`  node apply payments.ndjson
  node apply payments.ndjson --concurrency 256 --json > problems.ndjson
  zcat payments.ndjson.gz | node apply -`, "node apply", cfg.Program+" apply"),
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{"ndjson", "jsonl"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	fs := cmd.Flags()
	o.bind(fs, applyTimeout, "how long to go on trying, for each line")
	fs.IntVar(&o.concurrency, "concurrency", defaultConcurrency, "`number` of lines, each of another aggregate, under way at the most")
	fs.BoolVar(&o.restart, "restart", false, "forget the progress of earlier runs and begin anew; lines whose ids are forgotten take effect again")
	fs.BoolVar(&o.encoded, "encoded", false, "the ids of the file are in their encoded form already (=20 for a space)")
	fs.StringVar(&o.batch, "batch", "", "`name` that goes into the ids of lines without one")
	fs.StringVar(&o.user, "user", "", "`name` of the user on whose behalf lines that name none are sent")
	bindEnv(fs, "concurrency", "user")
	cmd.RunE = cfg.runner(&o.options, func(ctx context.Context, args []string) error {
		if o.concurrency < 1 || o.concurrency > 10_000 {
			return usagef("--concurrency %d: want 1 to 10000", o.concurrency)
		}
		if args[0] == "-" {
			return applyInput(ctx, cfg, o)
		}
		return applyFile(ctx, cfg, o, args[0])
	})
	return cmd
}

// applyInput applies standard input, of which there is no second reading.
func applyInput(ctx context.Context, cfg Config, o *applyOptions) error {
	if o.restart {
		return usagef("--restart: there is no progress to forget of standard input")
	}
	c, err := connect(ctx, cfg, &o.options)
	if err != nil {
		return err
	}
	defer c.close()
	r := o.newRun(cfg, c, cfg.In, nil)
	return o.conclude(r, r.apply(ctx), "")
}

// applyFile applies a file that can be read twice.
func applyFile(ctx context.Context, cfg Config, o *applyOptions, path string) error {
	f, err := openRegular(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	if err := lockFile(f); err != nil {
		return err
	}
	s, err := surveyFile(ctx, f)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	c, err := connect(ctx, cfg, &o.options)
	if err != nil {
		return err
	}
	defer c.close()
	log, err := c.logName(ctx)
	if err != nil {
		return err
	}
	head := header{Format: progressFormat, Encoded: o.encoded, Batch: o.batch, Sum: s.sum}
	record := &progress{path: path + "." + string(log) + ".progress"}
	defer record.close()
	begun := noOutcomes(s.lines)
	if !o.restart {
		earlier, ok, err := record.load(head, s.lines)
		if err != nil {
			return err
		}
		if ok {
			begun = earlier
		}
	}
	if err := record.open(head, begun); err != nil {
		return err
	}
	r := o.newRun(cfg, c, &sumReader{in: f, want: s.sum, h: sha256.New()}, begun)
	r.record = record
	return o.conclude(r, r.apply(ctx), record.path)
}

// openRegular opens FILE, which is read twice.
func openRegular(path string) (*os.File, error) {
	// Opening a pipe that nobody writes to would take forever.
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, usagef("FILE: %w", err)
	case info.IsDir():
		return nil, usagef("FILE: %s is a folder", path)
	case !info.Mode().IsRegular():
		return nil, usagef("FILE: %s is not a regular file, so no progress can be kept of it: pipe it in with '-'", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("FILE: %w", err)
	}
	return f, nil
}

func (o *applyOptions) newRun(cfg Config, c *client, in io.Reader, begun outcomes) *run {
	return &run{
		in:       in,
		format:   o.format,
		begun:    begun,
		schedule: newSchedule(defaultLimits, begun != nil),
		report:   newReport(cfg, o.json, begun),
		workers:  o.concurrency,
		send: func(ctx context.Context, l *line, failing func()) (acceptance, error) {
			return c.send(ctx, l.cmd, func(time.Duration, *callError) { failing() })
		},
	}
}

// conclude reports, and gives the error that the exit code is made of. progress is the
// path of the progress file, if there is one.
func (o *applyOptions) conclude(r *run, cause error, progress string) error {
	complete := cause == nil && r.report.open == 0
	s, err := r.report.finish(progress != "" && !complete, cause)
	if err != nil {
		return err
	}
	switch {
	case cause != nil:
		return o.told(ExitFailure, fmt.Errorf("%w%s", cause, goOn(progress)))
	case s.Open > 0:
		return o.told(ExitFailure, fmt.Errorf("%d lines have failed and may be tried again%s", s.Open, goOn(progress)))
	case s.Failed+s.Malformed > 0:
		return &endError{code: ExitFailure, told: true, err: errors.New("lines have failed")}
	case s.Rejected > 0:
		return &endError{code: ExitRejected, told: true, err: errors.New("lines were rejected")}
	}
	return nil
}

// told is an error that JSON output has in its summary already.
func (o *applyOptions) told(code int, err error) error {
	return &endError{code: code, told: o.json, err: err}
}

func goOn(progress string) string {
	if progress == "" {
		return "; of standard input no progress is kept"
	}
	return fmt.Sprintf("; run the same command again to go on (%s knows where)", progress)
}

// A sumReader fails at the end when the content is not what it was.
type sumReader struct {
	in   io.Reader
	h    hash.Hash
	want string
}

// Read implements [io.Reader].
func (r *sumReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.h.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(r.h.Sum(nil)) != r.want {
		return n, errChanged
	}
	return n, err
}
