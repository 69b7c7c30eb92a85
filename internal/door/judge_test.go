package door_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/door"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	const create = "CREATE.DEMO_FEED.c"
	config := func(fields string) string { return `{"stream_name":"DEMO_FEED","config":{` + fields + `}}` }
	for _, tt := range []struct{ name, request, body, says string }{
		{"pull", create, config(`"durable_name":"c","ack_policy":"explicit"`), ""},
		{"push", create, config(`"deliver_subject":"_INBOX.a.1"`), ""},
		{"old and durable", "DURABLE.CREATE.DEMO_FEED.c", config(`"durable_name":"c","inactive_threshold":7200000000000`), ""},
		{"old", "CREATE.DEMO_FEED", config(``), ""},
		{"with a filter", "CREATE.DEMO_FEED.c.demo.evt.>", config(`"filter_subject":"demo.evt.>"`), ""},
		{"no config", create, `{"stream_name":"DEMO_FEED","config":null}`, "config is not a JSON object"},
		{"of a bucket", "CREATE.KV_demo_view_x_1.c", `{"stream_name":"KV_demo_view_x_1","config":{}}`, ""},
		{"of outcomes", "CREATE.DEMO_OUTCOMES.c", `{"stream_name":"DEMO_OUTCOMES","config":{}}`, ""},

		{"into the feed", create, config(`"deliver_subject":"demo.evt.account.a-1.Deposited"`), "deliver_subject"},
		{"into a bucket", create, config(`"deliver_subject":"$KV.demo_view_x_1.a"`), "deliver_subject"},
		{"to JetStream", create, config(`"deliver_subject":"$JS.API.STREAM.PURGE.DEMO_FEED"`), "deliver_subject"},
		{"to the publisher", create, config(`"deliver_subject":"_PUBLISHER.x"`), "deliver_subject"},
		{"to the door", create, config(`"deliver_subject":"_DOOR.CREATE.DEMO_FEED"`), "deliver_subject"},
		{"to something like an inbox", create, config(`"deliver_subject":"_INBOXES.x"`), "begins with _INBOX."},
		{"to any inbox", create, config(`"deliver_subject":"_INBOX.>"`), "deliver_subject"},
		{"to no subject", create, config(`"deliver_subject":"_INBOX..x"`), "deliver_subject"},
		{"to two subjects", create, config(`"deliver_subject":"_INBOX.x demo.evt.x"`), "deliver_subject"},
		{"to a long inbox", create, config(`"deliver_subject":"_INBOX.` + strings.Repeat("x", 256) + `"`), "256 bytes"},
		{"to a number", create, config(`"deliver_subject":7`), "deliver_subject is not text"},
		{"in capitals", create, config(`"Deliver_Subject":"demo.evt.x"`), `"Deliver_Subject"`},
		{"config in capitals", create, `{"stream_name":"DEMO_FEED","Config":{"deliver_subject":"demo.evt.x"}}`, `"Config"`},
		{"into the feed the old way", "DURABLE.CREATE.DEMO_FEED.c", config(`"durable_name":"c","deliver_subject":"demo.evt.x"`), "deliver_subject"},

		{"of the log", "CREATE.DEMO_LOG_0.c", `{"stream_name":"DEMO_LOG_0","config":{}}`, `"DEMO_LOG_0" is not one for clients`},
		{"of another bucket", "CREATE.KV_DEMO_MEMBERS.c", `{"stream_name":"KV_DEMO_MEMBERS","config":{}}`, "not one for clients"},
		{"of another context", "CREATE.SHOP_FEED.c", `{"stream_name":"SHOP_FEED","config":{}}`, "DEMO_FEED, DEMO_OUTCOMES and the buckets demo_view_*"},
		{"of two streams", create, `{"stream_name":"DEMO_LOG_0","config":{}}`, "they have to be the same"},
		{"of no stream", create, `{"config":{}}`, "they have to be the same"},
		{"another request", "RESET.DEMO_FEED.c", config(``), "is none on which a consumer is asked for"},

		{"of a node", "CREATE.KV_demo_view_x_1.holdfast-1.a", `{"stream_name":"KV_demo_view_x_1","config":{"filter_subject":"a"}}`, "is a node's"},
		{"of a node by its name", "CREATE.DEMO_FEED", config(`"name":"holdfast-1"`), "is a node's"},
		{"of a node and durable", "DURABLE.CREATE.DEMO_FEED.c", config(`"durable_name":"holdfast-1"`), "is a node's"},
		{"with a number for a name", create, config(`"name":7`), "name is not text"},

		{"paused", create, config(`"pause_until":"2100-01-01T00:00:00Z"`), `"pause_until"`},
		{"hidden", create, config(`"direct":true`), `"direct"`},
		{"for a mirror", create, config(`"sourcing":true`), `"sourcing"`},
		{"with what is not known", create, config(`"republish":"demo.evt.x"`), `config has the field "republish"`},
		{"beside the config", create, `{"stream_name":"DEMO_FEED","config":{},"deliver_subject":"demo.evt.x"}`, `the request has the field "deliver_subject"`},
		{"with many filters", create, config(`"filter_subjects":["a"` + strings.Repeat(`,"a"`, 100) + `]`), "filter_subjects are 101"},
		{"with wrong filters", create, config(`"filter_subjects":"a"`), "filter_subjects is not a list"},
		{"with much pending", create, config(`"max_ack_pending":100001`), "max_ack_pending is 100001"},
		{"with no end of pending", create, config(`"max_ack_pending":-1`), "max_ack_pending is -1"},
		{"with many waiting", create, config(`"max_waiting":4097`), "max_waiting is 4097"},
		{"with text for a number", create, config(`"max_waiting":"many"`), "max_waiting is not a whole number"},
		{"for long", create, config(`"inactive_threshold":3600000000001`), "inactive_threshold"},
		{"for long with a name", create, config(`"name":"c","inactive_threshold":7200000000000`), "inactive_threshold"},
		{"for a time in words", create, config(`"inactive_threshold":"1h"`), "inactive_threshold is not a whole number"},
		{"with a name of numbers", create, config(`"durable_name":1`), "durable_name is not text"},
		{"large", create, config(`"description":"` + strings.Repeat("x", 64<<10) + `"`), "the limit is 65536"},
		{"nothing", create, ``, "the request is not a JSON object"},
		{"null", create, `null`, "the request is not a JSON object"},
		{"a list", create, `[]`, "the request is not a JSON object"},
		{"more than one", create, config(``) + config(`"deliver_subject":"demo.evt.x"`), "the request is not a JSON object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := door.Judge(demo, tt.request, []byte(tt.body))
			if said := fmt.Sprint(err); tt.says == "" && err != nil || !strings.Contains(said, tt.says) {
				t.Errorf("got %s, want %q", said, tt.says)
			}
		})
	}
}

// TestWrittenAnew: what has been judged is what JetStream reads, and nothing that came
// beside it under the same name.
func TestWrittenAnew(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"stream_name":"DEMO_FEED","config":{"deliver_subject":"demo.evt.x"},"config":{"name":"c"}}`:        `{"config":{"name":"c"},"stream_name":"DEMO_FEED"}`,
		`{"stream_name":"DEMO_FEED","config":{"deliver_subject":"demo.evt.x","deliver_subject":"_INBOX.x"}}`: `{"config":{"deliver_subject":"_INBOX.x"},"stream_name":"DEMO_FEED"}`,
		`{"stream_name":"DEMO_LOG_0","stream_name":"DEMO_FEED","config":{}}`:                                 `{"config":{},"stream_name":"DEMO_FEED"}`,
		`{"stream_name":"DEMO_FEED","config":{"\u0064eliver_subject":"_INBOX.\u0061"}}`:                      `{"config":{"deliver_subject":"_INBOX.a"},"stream_name":"DEMO_FEED"}`,
		`{"stream_name":"DEMO_FEED","action":"create","config":{"opt_start_seq":18446744073709551615}}`:      `{"action":"create","config":{"opt_start_seq":18446744073709551615},"stream_name":"DEMO_FEED"}`,
	} {
		if got, err := door.Judge(demo, "CREATE.DEMO_FEED.c", []byte(body)); err != nil || string(got) != want {
			t.Errorf("%s\nbecame %s, %v\nwant   %s", body, got, err, want)
		}
	}
}
