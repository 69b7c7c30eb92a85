package cli

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"
	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

// completeTimeout is how long a shell may be kept waiting.
const completeTimeout = 300 * time.Millisecond

// completer completes REF to the types, and with commands COMMAND to the commands,
// that the running node tells of itself. Without one it completes nothing.
func completer(cfg Config, o *options, withCommands bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 1 || len(args) == 1 && !withCommands {
			return nil, none
		}
		if readEnv(cmd.Flags(), cfg.Getenv) != nil || o.check() != nil {
			return nil, none
		}
		o.timeout = completeTimeout
		types := served(cmd.Context(), cfg, o)
		if len(args) == 0 {
			var refs []cobra.Completion
			for typ := range types {
				refs = append(refs, typ+"/")
			}
			slices.Sort(refs)
			return refs, none | cobra.ShellCompDirectiveNoSpace
		}
		typ, _, _ := strings.Cut(args[0], "/")
		return types[typ], none
	}
}

// served asks which types the context has, with the commands of each. What cannot be
// found out is left out.
func served(ctx context.Context, cfg Config, o *options) map[string][]string {
	if ctx == nil {
		ctx = context.Background()
	}
	c, err := connect(ctx, cfg, o)
	if err != nil {
		return nil
	}
	defer c.close()
	body, _, err := c.call(ctx, c.describe())
	if err != nil {
		return nil
	}
	var info micro.Info
	if json.Unmarshal(body, &info) != nil {
		return nil
	}
	return typesOf(info)
}

// describe asks for the description of the context's service.
func (c *client) describe() request {
	return request{subject: micro.APIPrefix + "." + micro.InfoVerb.String() + "." + messages.ServiceName(c.context)}
}

// typesOf reads a service's description: its metadata "types", and of its endpoints the
// metadata "commands.<type>", both lists with commas.
func typesOf(info micro.Info) map[string][]string {
	types := map[string][]string{}
	for _, typ := range listed(info.Metadata["types"]) {
		types[typ] = nil
		for _, endpoint := range info.Endpoints {
			types[typ] = append(types[typ], listed(endpoint.Metadata["commands."+typ])...)
		}
	}
	return types
}

func listed(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
