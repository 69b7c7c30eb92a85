package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

const (
	defaultHistory = 100
	// longestPage is the most that a node gives at once.
	longestPage = 1000
	// shownData is how much of an event's data the table shows.
	shownData = 60
)

type historyOptions struct {
	options
	encoded     bool
	from, limit uint64
	all         bool
}

// A historyPage is a node's answer.
type historyPage struct {
	Events []json.RawMessage `json:"events"`
	Next   uint64            `json:"next"`
}

// A historyEvent is of an event what the table shows.
type historyEvent struct {
	Version uint64          `json:"version"`
	Time    string          `json:"time"`
	Type    string          `json:"type"`
	User    string          `json:"user"`
	Command string          `json:"command"`
	Data    json.RawMessage `json:"data"`
}

func historyCommand(cfg Config) *cobra.Command {
	o := &historyOptions{}
	cmd := &cobra.Command{
		Use:   "history REF",
		Short: "Show an aggregate's events, with who did what and when",
		Long: `Show the events of the aggregate REF, written type/id, in order: version, time, event,
user, command and the beginning of the data. With --json each event is one document
with all that is known of it.
` + exitHelp + ".",
		Example: strings.ReplaceAll(`  node history account/a-1
  node history account/a-1 --from 200 --limit 50
  node history account/a-1 --all --json`, "  node", "  "+cfg.Program),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completer(cfg, &o.options, false),
	}
	fs := cmd.Flags()
	o.bind(fs, askTimeout, "how long to go on trying, for each page")
	fs.BoolVar(&o.encoded, "encoded", false, encodedHelp)
	fs.Uint64Var(&o.from, "from", 1, "first `version` to show")
	fs.Uint64Var(&o.limit, "limit", defaultHistory, "`number` of events to show at the most")
	fs.BoolVar(&o.all, "all", false, "show all events from --from on")
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	cmd.RunE = cfg.runner(&o.options, func(ctx context.Context, args []string) error {
		return runHistory(ctx, cfg, o, args[0])
	})
	return cmd
}

func runHistory(ctx context.Context, cfg Config, o *historyOptions, arg string) error {
	typ, id, err := argRef(arg, o.encoded)
	if err != nil {
		return err
	}
	if o.limit == 0 {
		return usagef("--limit 0: want at least 1, or --all")
	}
	c, err := connect(ctx, cfg, &o.options)
	if err != nil {
		return about(err, messages.FormatRef(typ, id), "")
	}
	defer c.close()
	subject := messages.Subject{Context: c.context, Kind: messages.KindHistory, Type: typ, ID: id}
	from, shown := max(o.from, 1), uint64(0)
	for {
		size := uint64(longestPage)
		if !o.all {
			size = min(size, o.limit-shown)
		}
		page, err := c.historyPage(ctx, subject, from, size)
		if err != nil {
			return err
		}
		if err := cfg.showHistory(page, o.json, shown == 0); err != nil {
			return err
		}
		shown += uint64(len(page.Events))
		if page.Next == 0 {
			return nil
		}
		from = page.Next
		if !o.all && shown >= o.limit {
			_, err := fmt.Fprintf(cfg.Err, "there is more: --from %d goes on, --all shows everything\n", from)
			return err
		}
	}
}

func (c *client) historyPage(ctx context.Context, subject messages.Subject, from, size uint64) (historyPage, error) {
	var page historyPage
	body := fmt.Appendf(nil, `{"from":%d,"limit":%d}`, from, size)
	if err := c.ask(ctx, request{subject: subject.String(), body: body}, &page); err != nil {
		return page, about(err, messages.FormatRef(subject.Type, subject.ID), "")
	}
	if page.Next != 0 && page.Next <= from { // it would go on for ever
		return page, fmt.Errorf("after the page from version %d the node names %d as the next", from, page.Next)
	}
	return page, nil
}

func (c Config) showHistory(page historyPage, asJSON, first bool) error {
	if asJSON {
		for _, event := range page.Events {
			if err := writeJSON(c.Out, event); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	if first {
		rows = append(rows, []string{"VERSION", "TIME", "EVENT", "USER", "COMMAND", "DATA"})
	}
	for _, raw := range page.Events {
		var e historyEvent
		if err := decodeAnswer(raw, &e); err != nil {
			return err
		}
		rows = append(rows, e.row())
	}
	return c.writeTable(rows, first, alignRight)
}

func (e historyEvent) row() []string {
	var data bytes.Buffer
	// Encrypted or unreadable data may be missing.
	if json.Compact(&data, e.Data) != nil {
		data.Reset()
	}
	return []string{
		strconv.FormatUint(e.Version, 10), shortTime(e.Time), shortName(e.Type),
		e.User, shortName(e.Command), shorten(data.String(), shownData),
	}
}

// How the first column of a table stands.
const (
	alignLeft  = false
	alignRight = true
)

// writeTable writes rows in columns; a header in bold.
func (c Config) writeTable(rows [][]string, header, firstRight bool) error {
	var width []int
	for _, row := range rows {
		if width == nil {
			width = make([]int, len(row))
		}
		for i, cell := range row {
			row[i] = oneLine(cell)
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			switch {
			case i > 0:
				b.WriteString("  " + cell + pad)
			case firstRight:
				b.WriteString(pad + cell)
			default:
				b.WriteString(cell + pad)
			}
		}
		text := strings.TrimRight(b.String(), " ")
		if header && n == 0 {
			text = c.paint(bold, text)
		}
		if _, err := io.WriteString(c.Out, text+"\n"); err != nil {
			return err
		}
	}
	return nil
}
