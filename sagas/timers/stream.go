package timers

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/messages"
)

const (
	metaFormat = "holdfast-format"
	// format is that of the body: a time in RFC 3339.
	format = 1
	// dedupWindow is as short as is sensible: no message has an id.
	dedupWindow = time.Second
	// consumerName is that of the consumer from which all who run take what has fired.
	consumerName = "due"
)

// A SettingError says that the live stream, or its consumer, is not what timers rely on.
type SettingError struct {
	Stream                 string
	Consumer               string // if it is one of its consumer's
	Setting, Found, Wanted string
}

// Error says what to change, in the words of the nats command line and its API.
func (e *SettingError) Error() string {
	if e.Consumer != "" {
		return fmt.Sprintf("stream %s: its consumer %s has the setting %s of %s, but must have %s: delete the consumer, and the next node to start makes it anew",
			e.Stream, e.Consumer, e.Setting, e.Found, e.Wanted)
	}
	return fmt.Sprintf("stream %s: its setting %s is %s, but must be %s", e.Stream, e.Setting, e.Found, e.Wanted)
}

// streamConfig is how the stream is made. Nothing in it goes by itself: what has been
// handled is swept, many at a time. A work queue would remove each when it is acknowledged,
// which on a single server is an fsync for each; and with interest retention the server
// would drop a schedule as soon as it comes, since no consumer is for it (ADR 14).
func streamConfig(c messages.Context, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               c.TimerStream(),
		Description:        fmt.Sprintf("Holdfast: the timers of %s", c),
		Subjects:           []string{fmt.Sprintf("%s.%s.>", c, messages.KindDue), fmt.Sprintf("%s.%s.>", c, messages.KindTimer)},
		Retention:          jetstream.LimitsPolicy,
		MaxConsumers:       -1,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		Discard:            jetstream.DiscardOld, // schedules exclude the other one, and there is no limit
		Storage:            jetstream.FileStorage,
		Replicas:           replicas,
		Duplicates:         dedupWindow,
		AllowDirect:        true,
		AllowMsgSchedules:  true,
		AllowRollup:        true, // schedules need it
		AllowAtomicPublish: true,
		Metadata:           map[string]string{metaFormat: strconv.Itoa(format)},
	}
}

// consumerConfig is how the consumer is made. A timer that is not handled comes again
// for ever, and those that rest until then hold up no other.
func consumerConfig(c messages.Context, patience time.Duration) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       consumerName,
		Description:   fmt.Sprintf("Holdfast: the timers of %s that have fired", c),
		FilterSubject: fmt.Sprintf("%s.%s.>", c, messages.KindDue),
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       patience,
		MaxDeliver:    -1,
		MaxAckPending: -1,
	}
}

// A setting is one that must be as it was made, or at least as strong.
type setting[C any] struct {
	name   string
	of     func(c *C) string
	enough func(found, wanted *C) bool // nil: equal only
}

func flag[C any](name string, of func(c *C) bool) setting[C] {
	return setting[C]{name: name, of: func(c *C) string { return strconv.FormatBool(of(c)) }}
}

// limit is a number that stands for no limit when it is not positive.
func limit[C any](name string, of func(c *C) int64) setting[C] {
	return setting[C]{name: name, of: func(c *C) string {
		if n := of(c); n > 0 {
			return strconv.FormatInt(n, 10)
		}
		return "unlimited"
	}}
}

type (
	stream   = jetstream.StreamConfig
	consumer = jetstream.ConsumerConfig
)

// ofStream are what keeps timers from being lost before they are handled. A stream with
// schedules has no mirror, sources or counters and lets its messages be purged: the server
// sees to that.
var ofStream = []setting[stream]{
	{name: "subjects", of: func(c *stream) string {
		return strings.Join(slices.Sorted(slices.Values(c.Subjects)), ", ")
	}},
	{name: "retention", of: func(c *stream) string { return strings.ToLower(c.Retention.String()) }},
	{name: "storage", of: func(c *stream) string { return strings.ToLower(c.Storage.String()) }},
	{
		name:   "num_replicas",
		of:     func(c *stream) string { return strconv.Itoa(max(c.Replicas, 1)) },
		enough: func(found, wanted *stream) bool { return found.Replicas >= wanted.Replicas },
	},
	// Some of these make the server take back, or exclude, what comes after them.
	flag("sealed", func(c *stream) bool { return c.Sealed }),
	limit("subject_delete_marker_ttl", func(c *stream) int64 { return int64(c.SubjectDeleteMarkerTTL) }),
	flag("allow_msg_ttl", func(c *stream) bool { return c.AllowMsgTTL }),
	{name: "persist_mode", of: func(c *stream) string { return strings.ToLower(c.PersistMode.String()) }},
	flag("allow_msg_schedules", func(c *stream) bool { return c.AllowMsgSchedules }),
	flag("allow_direct", func(c *stream) bool { return c.AllowDirect }),
	flag("allow_atomic", func(c *stream) bool { return c.AllowAtomicPublish }),
	limit("max_msgs", func(c *stream) int64 { return c.MaxMsgs }),
	limit("max_bytes", func(c *stream) int64 { return c.MaxBytes }),
	limit("max_age", func(c *stream) int64 { return int64(c.MaxAge) }),
	limit("max_msgs_per_subject", func(c *stream) int64 { return c.MaxMsgsPerSubject }),
	limit("max_msg_size", func(c *stream) int64 { return int64(c.MaxMsgSize) }),
	flag("deny_delete", func(c *stream) bool { return c.DenyDelete }),
	flag("no_ack", func(c *stream) bool { return c.NoAck }),
	flag("subject_transform", func(c *stream) bool { return c.SubjectTransform != nil }),
	{name: "metadata " + metaFormat, of: func(c *stream) string { return c.Metadata[metaFormat] }},
}

// ofConsumer are what keeps a timer from being handed out too seldom, or from being swept
// when it was not handed out at all.
var ofConsumer = []setting[consumer]{
	{name: "filter_subject", of: func(c *consumer) string { return strings.Join(append(c.FilterSubjects, c.FilterSubject), ", ") }},
	{name: "deliver_policy", of: func(c *consumer) string { return c.DeliverPolicy.String() }},
	{name: "ack_policy", of: func(c *consumer) string { return c.AckPolicy.String() }},
	limit("max_deliver", func(c *consumer) int64 { return int64(c.MaxDeliver) }),
	limit("max_ack_pending", func(c *consumer) int64 { return int64(c.MaxAckPending) }),
	limit("inactive_threshold", func(c *consumer) int64 { return int64(c.InactiveThreshold) }),
	flag("backoff", func(c *consumer) bool { return len(c.BackOff) > 0 }),
	flag("headers_only", func(c *consumer) bool { return c.HeadersOnly }),
}

// compare finds the first setting that is weaker than wanted; its error has the setting
// and both values.
func compare[C any](settings []setting[C], found, wanted *C) *SettingError {
	for _, s := range settings {
		f, w := s.of(found), s.of(wanted)
		if f == w || s.enough != nil && s.enough(found, wanted) {
			continue
		}
		if f == "" {
			f = "missing"
		}
		return &SettingError{Setting: s.name, Found: f, Wanted: w}
	}
	return nil
}
