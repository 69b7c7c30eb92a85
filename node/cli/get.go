package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

type getOptions struct {
	options
	encoded     bool
	asOf        string
	asOfVersion uint64
	byVersion   bool // --as-of-version was given
}

// A view is an aggregate's state, as get prints it.
type view struct {
	Ref      string          `json:"ref"`
	Version  uint64          `json:"version"`
	Position string          `json:"position"`
	Time     string          `json:"time"`
	State    json.RawMessage `json:"state"`
}

func getCommand(cfg Config) *cobra.Command {
	o := &getOptions{}
	cmd := &cobra.Command{
		Use:   "get REF",
		Short: "Show an aggregate's state, now or as it was",
		Long: `Show the durable state of the aggregate REF, written type/id: as it is now, as it was at
a time, or as it was at a version.
` + exitHelp + ".",
		Example: strings.ReplaceAll(`  node get account/a-1
  node get account/a-1 --as-of 2026-03-14T09:26:53Z
  node get account/a-1 --as-of-version 3 --json`, "  node", "  "+cfg.Program),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completer(cfg, &o.options, false),
	}
	fs := cmd.Flags()
	o.bind(fs, askTimeout, "how long to go on trying")
	fs.BoolVar(&o.encoded, "encoded", false, encodedHelp)
	fs.StringVar(&o.asOf, "as-of", "", "`time` of the state, such as 2026-03-14T09:26:53Z")
	fs.Uint64Var(&o.asOfVersion, "as-of-version", 0, "`version` of the state")
	cmd.MarkFlagsMutuallyExclusive("as-of", "as-of-version")
	cmd.RunE = cfg.runner(&o.options, func(ctx context.Context, args []string) error {
		o.byVersion = fs.Changed("as-of-version")
		return runGet(ctx, cfg, o, args[0])
	})
	return cmd
}

func runGet(ctx context.Context, cfg Config, o *getOptions, arg string) error {
	typ, id, err := argRef(arg, o.encoded)
	if err != nil {
		return err
	}
	header, err := o.header()
	if err != nil {
		return usage(err)
	}
	c, err := connect(ctx, cfg, &o.options)
	if err != nil {
		return about(err, messages.FormatRef(typ, id), "")
	}
	defer c.close()
	v := view{}
	subject := messages.Subject{Context: c.context, Kind: messages.KindGet, Type: typ, ID: id}
	err = c.ask(ctx, request{subject: subject.String(), header: header}, &v)
	if err != nil {
		return about(err, messages.FormatRef(typ, id), "")
	}
	if o.json {
		return writeJSON(cfg.Out, v)
	}
	return cfg.showView(v)
}

func (o *getOptions) header() (map[string][]string, error) {
	header := map[string][]string{}
	if o.asOf != "" {
		t, err := time.Parse(time.RFC3339Nano, o.asOf)
		if err != nil {
			return nil, fmt.Errorf("--as-of %q: want a time such as 2026-03-14T09:26:53Z (RFC 3339)", o.asOf)
		}
		header[messages.HeaderAsOf] = []string{t.Format(time.RFC3339Nano)}
	}
	if o.byVersion {
		header[messages.HeaderAsOfVersion] = []string{strconv.FormatUint(o.asOfVersion, 10)}
	}
	return header, nil
}

// ask is call for what only reads.
func (c *client) ask(ctx context.Context, q request, into any) error {
	q.retrying = func(pause time.Duration, because *callError) {
		fmt.Fprintf(c.cfg.Err, "%s; trying again in %v\n", oneLine(because.Code+": "+because.Message), pause.Round(10*time.Millisecond))
	}
	body, _, err := c.call(ctx, q)
	if err == nil {
		err = decodeAnswer(body, into)
	}
	return err
}

func (c Config) showView(v view) error {
	var state bytes.Buffer
	if len(v.State) == 0 {
		v.State = json.RawMessage("{}")
	}
	if err := json.Indent(&state, v.State, "", "  "); err != nil {
		return fmt.Errorf("show state: %w", err)
	}
	head := fmt.Sprintf("%s  version %d  %s  position %s", v.Ref, v.Version, shortTime(v.Time), v.Position)
	_, err := fmt.Fprintf(c.Out, "%s\n%s\n", c.paint(bold, oneLine(head)), printable(state.String()))
	return err
}

// shortTime is a time in UTC without fractions, or the text itself if it is no time.
func shortTime(s string) string {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return s
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
