package door

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/messages"
)

// What a client may ask for at the most.
const (
	maxBody       = 64 << 10
	maxSubject    = 256
	maxFilters    = 100 // JetStream compares each with each
	maxWaiting    = 4096
	maxAckPending = 100_000
	maxInactive   = time.Hour
)

// inbox begins the subjects on which clients can be delivered to.
const inbox = "_INBOX."

// requestFields and configFields are all that a request may have. JetStream knows more,
// and newer servers may know others: what is not here is refused until somebody has
// thought about it.
var requestFields = []string{"stream_name", "config", "action", "pedantic"}

var configFields = []string{
	"durable_name", "name", "description", "metadata",
	"deliver_policy", "opt_start_seq", "opt_start_time", "replay_policy", "rate_limit_bps",
	"ack_policy", "ack_wait", "max_deliver", "backoff", "max_ack_pending",
	"filter_subject", "filter_subjects", "headers_only",
	"max_waiting", "max_batch", "max_expires", "max_bytes",
	"deliver_subject", "deliver_group", "flow_control", "idle_heartbeat",
	"inactive_threshold", "num_replicas", "mem_storage",
	"priority_groups", "priority_policy", "priority_timeout",
}

// fields of a JSON object. It is written anew before JetStream has it: a field that comes
// twice, or in capitals, has one meaning here and might have another there.
type fields map[string]json.RawMessage

// judge reads a request, by what follows $JS.API.CONSUMER in its subject, and gives the
// body that JetStream may have. Its error says what a client may not ask for.
func judge(c messages.Context, request string, body []byte) ([]byte, error) {
	if len(body) > maxBody {
		return nil, fmt.Errorf("the request takes %d bytes, the limit is %d", len(body), maxBody)
	}
	stream, err := streamOf(request)
	if err != nil {
		return nil, err
	}
	if !c.IsPublic(stream) {
		return nil, fmt.Errorf("the stream %q is not one for clients: they may read %s, %s and the buckets %s*",
			stream, c.FeedStream(), c.OutcomeStream(), c.ViewBucketPrefix())
	}
	top, err := parse("the request", body, requestFields)
	if err != nil {
		return nil, err
	}
	named, err := text(top, "stream_name")
	if err != nil {
		return nil, err
	}
	if named != stream {
		return nil, fmt.Errorf("stream_name is %q, and the subject names %q: they have to be the same", named, stream)
	}
	config, err := parse("config", top["config"], configFields)
	if err != nil {
		return nil, err
	}
	if err := judgeName(request, config); err != nil {
		return nil, err
	}
	for _, judge := range []func(fields) error{judgeDelivery, judgeLimits, judgeFilters, judgeLife} {
		if err := judge(config); err != nil {
			return nil, err
		}
	}
	if top["config"], err = json.Marshal(config); err != nil {
		return nil, err
	}
	return json.Marshal(top)
}

// streamOf reads CREATE.<stream>[.<name>[.<filter>]] or DURABLE.CREATE.<stream>.<name>.
func streamOf(request string) (string, error) {
	tokens := strings.Split(strings.TrimPrefix(request, "DURABLE."), ".")
	if len(tokens) < 2 || tokens[0] != "CREATE" {
		return "", fmt.Errorf("the subject %s%s is none on which a consumer is asked for", jetStream, request)
	}
	return tokens[1], nil
}

// judgeName leaves nodes their own consumers: to ask for one that is there is to change it.
func judgeName(request string, config fields) error {
	names := strings.Split(request, ".")
	for _, field := range []string{"name", "durable_name"} {
		name, err := text(config, field)
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	for _, name := range names {
		if strings.HasPrefix(name, messages.NodeConsumers) {
			return fmt.Errorf("a consumer whose name begins with %s is a node's: choose another name", messages.NodeConsumers)
		}
	}
	return nil
}

func parse(what string, body []byte, known []string) (fields, error) {
	out := fields{}
	if err := json.Unmarshal(body, &out); err != nil || out == nil {
		return nil, fmt.Errorf("%s is not a JSON object", what)
	}
	for name := range out {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%s has the field %q, which clients may not use: leave it out", what, name)
		}
	}
	return out, nil
}

// text reads a field, and writes it anew. Missing is empty.
func text(f fields, name string) (s string, err error) {
	if f[name] == nil {
		return "", nil
	}
	if err := json.Unmarshal(f[name], &s); err != nil {
		return "", fmt.Errorf("%s is not text", name)
	}
	f[name], err = json.Marshal(s)
	return s, err
}

// judgeDelivery is what the door is there for.
func judgeDelivery(config fields) error {
	to, err := text(config, "deliver_subject")
	if err != nil {
		return err
	}
	if to == "" {
		return nil
	}
	if !strings.HasPrefix(to, inbox) || len(to) > maxSubject || strings.ContainsAny(to, " \t\r\n*>") || slices.Contains(strings.Split(to, "."), "") {
		return fmt.Errorf("deliver_subject is %.300q: it has to be an inbox, which begins with %s and takes %d bytes at most", to, inbox, maxSubject)
	}
	return nil
}

func judgeLimits(config fields) error {
	for name, limit := range map[string]int64{"max_waiting": maxWaiting, "max_ack_pending": maxAckPending} {
		n, err := number(config, name)
		if err != nil {
			return err
		}
		if n < 0 || n > limit {
			return fmt.Errorf("%s is %d: it may be %d at most", name, n, limit)
		}
	}
	return nil
}

func number(f fields, name string) (n int64, err error) {
	if f[name] == nil {
		return 0, nil
	}
	if err := json.Unmarshal(f[name], &n); err != nil {
		return 0, fmt.Errorf("%s is not a whole number", name)
	}
	return n, nil
}

func judgeFilters(config fields) error {
	var filters []string
	if raw := config["filter_subjects"]; raw != nil {
		if err := json.Unmarshal(raw, &filters); err != nil {
			return errors.New("filter_subjects is not a list of subjects")
		}
	}
	if len(filters) > maxFilters {
		return fmt.Errorf("filter_subjects are %d: they may be %d at most: use wildcards", len(filters), maxFilters)
	}
	return nil
}

// judgeLife has nobody leave behind what nothing is known of any more.
func judgeLife(config fields) error {
	name, err := text(config, "durable_name")
	if err != nil {
		return err
	}
	after, err := number(config, "inactive_threshold")
	if err != nil {
		return err
	}
	if name == "" && time.Duration(after) > maxInactive {
		return fmt.Errorf("inactive_threshold is %s: a consumer that is not durable may have %s at most", time.Duration(after), maxInactive)
	}
	return nil
}
