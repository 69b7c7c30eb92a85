package jetstream

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
	metaPartitions = "holdfast-partitions"
	metaFormat     = "holdfast-format"
	// dedupWindow is as short as is sensible. What becomes of an append whose answer is
	// lost is found out by reading, never by sending it again, so the window does
	// nothing; yet each id in it takes memory of the server, and a restart reads all
	// messages in it.
	dedupWindow = time.Second
	// noLimit commits of an aggregate are more than can be. A stream that names some
	// number has blocks of 4 MiB rather than 8, so a commit that the server has not in
	// memory costs half as much to read (ADR 8).
	noLimit = 1 << 40
)

// A SettingError says that a live stream is weaker than what the guarantees rest on.
type SettingError struct {
	Stream, Setting, Found, Wanted string
}

// Error says what to change, in the words of the nats command line and its API.
func (e *SettingError) Error() string {
	return fmt.Sprintf("stream %s: its setting %s is %s, but must be %s", e.Stream, e.Setting, e.Found, e.Wanted)
}

// logStream is how the stream of one partition is made.
func logStream(c messages.Context, partition, partitions uint32, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               c.LogStream(partition),
		Description:        fmt.Sprintf("Holdfast: the log of %s, partition %d of %d", c, partition, partitions),
		Subjects:           []string{fmt.Sprintf("%s.%s.%d.>", c, messages.KindLog, partition)},
		Retention:          jetstream.LimitsPolicy,
		MaxConsumers:       -1,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgsPerSubject:  noLimit,
		MaxMsgSize:         -1,
		Discard:            jetstream.DiscardNew,
		Storage:            jetstream.FileStorage,
		Replicas:           replicas,
		Duplicates:         dedupWindow,
		DenyDelete:         true,
		DenyPurge:          true,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		Metadata: map[string]string{
			metaPartitions: strconv.FormatUint(uint64(partitions), 10),
			metaFormat:     strconv.Itoa(messages.CommitFormat),
		},
	}
}

// snapshotStream is how the stream of snapshots is made. What it holds can be had from
// the log, so a server that is alone need not fsync it.
func snapshotStream(c messages.Context, replicas int) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name:              c.SnapshotStream(),
		Description:       fmt.Sprintf("Holdfast: the snapshots of %s, which may be deleted at any time", c),
		Subjects:          []string{fmt.Sprintf("%s.%s.>", c, messages.KindSnapshot)},
		Retention:         jetstream.LimitsPolicy,
		MaxConsumers:      -1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: 2,
		MaxMsgSize:        -1,
		Discard:           jetstream.DiscardOld,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		Duplicates:        dedupWindow,
		AllowDirect:       true,
		Metadata:          map[string]string{metaFormat: strconv.Itoa(messages.SnapshotFormat)},
	}
	if replicas == 1 {
		cfg.PersistMode = jetstream.AsyncPersistMode
	}
	return cfg
}

// A setting is one that must be as it was made, or at least as strong.
type setting struct {
	name   string
	of     func(c *jetstream.StreamConfig) string
	enough func(found, wanted *jetstream.StreamConfig) bool // nil: equal only
}

func flag(name string, of func(c *jetstream.StreamConfig) bool) setting {
	return setting{name: name, of: func(c *jetstream.StreamConfig) string { return strconv.FormatBool(of(c)) }}
}

// limit is a number that stands for no limit when it is not positive.
func limit(name string, of func(c *jetstream.StreamConfig) int64) setting {
	return setting{name: name, of: func(c *jetstream.StreamConfig) string {
		if n := of(c); n > 0 {
			return strconv.FormatInt(n, 10)
		}
		return "unlimited"
	}}
}

// both are what the log and the snapshots have in common.
var both = []setting{
	{name: "subjects", of: func(c *jetstream.StreamConfig) string {
		return strings.Join(slices.Sorted(slices.Values(c.Subjects)), ", ")
	}},
	{name: "retention", of: func(c *jetstream.StreamConfig) string { return strings.ToLower(c.Retention.String()) }},
	limit("max_msg_size", func(c *jetstream.StreamConfig) int64 { return int64(c.MaxMsgSize) }),
	flag("no_ack", func(c *jetstream.StreamConfig) bool { return c.NoAck }),
	flag("sealed", func(c *jetstream.StreamConfig) bool { return c.Sealed }),
	flag("allow_direct", func(c *jetstream.StreamConfig) bool { return c.AllowDirect }),
	flag("mirror", func(c *jetstream.StreamConfig) bool { return c.Mirror != nil }),
	flag("sources", func(c *jetstream.StreamConfig) bool { return len(c.Sources) > 0 }),
	flag("subject_transform", func(c *jetstream.StreamConfig) bool { return c.SubjectTransform != nil }),
	flag("allow_msg_counter", func(c *jetstream.StreamConfig) bool { return c.AllowMsgCounter }),
	{name: "metadata " + metaFormat, of: func(c *jetstream.StreamConfig) string { return c.Metadata[metaFormat] }},
}

// ofLog are what keeps the log from being lost, trimmed or changed.
var ofLog = append(slices.Clone(both), []setting{
	{name: "metadata " + metaPartitions, of: func(c *jetstream.StreamConfig) string { return c.Metadata[metaPartitions] }},
	// Some of these make the server take back, or exclude, what comes after them.
	flag("allow_msg_schedules", func(c *jetstream.StreamConfig) bool { return c.AllowMsgSchedules }),
	limit("subject_delete_marker_ttl", func(c *jetstream.StreamConfig) int64 { return int64(c.SubjectDeleteMarkerTTL) }),
	flag("allow_msg_ttl", func(c *jetstream.StreamConfig) bool { return c.AllowMsgTTL }),
	flag("allow_rollup_hdrs", func(c *jetstream.StreamConfig) bool { return c.AllowRollup }),
	{name: "storage", of: func(c *jetstream.StreamConfig) string { return strings.ToLower(c.Storage.String()) }},
	{
		name:   "num_replicas",
		of:     func(c *jetstream.StreamConfig) string { return strconv.Itoa(max(c.Replicas, 1)) },
		enough: func(found, wanted *jetstream.StreamConfig) bool { return found.Replicas >= wanted.Replicas },
	},
	limit("max_msgs", func(c *jetstream.StreamConfig) int64 { return c.MaxMsgs }),
	limit("max_bytes", func(c *jetstream.StreamConfig) int64 { return c.MaxBytes }),
	limit("max_age", func(c *jetstream.StreamConfig) int64 { return int64(c.MaxAge) }),
	{
		name:   "max_msgs_per_subject",
		of:     func(c *jetstream.StreamConfig) string { return strconv.FormatInt(c.MaxMsgsPerSubject, 10) },
		enough: func(found, _ *jetstream.StreamConfig) bool { return found.MaxMsgsPerSubject <= 0 },
	},
	{name: "discard", of: func(c *jetstream.StreamConfig) string {
		return strings.TrimPrefix(strings.ToLower(c.Discard.String()), "discard")
	}},
	{name: "persist_mode", of: func(c *jetstream.StreamConfig) string { return strings.ToLower(c.PersistMode.String()) }},
	flag("deny_delete", func(c *jetstream.StreamConfig) bool { return c.DenyDelete }),
	flag("deny_purge", func(c *jetstream.StreamConfig) bool { return c.DenyPurge }),
	flag("allow_atomic", func(c *jetstream.StreamConfig) bool { return c.AllowAtomicPublish }),
	{name: "first_seq", of: func(c *jetstream.StreamConfig) string { return strconv.FormatUint(max(c.FirstSeq, 1), 10) }},
}...)

// ofSnapshots has nothing about losing them, since they may be lost.
var ofSnapshots = append(slices.Clone(both), limit("max_msgs_per_subject", func(c *jetstream.StreamConfig) int64 { return c.MaxMsgsPerSubject }))

// compare finds the first setting that is weaker than wanted.
func compare(settings []setting, found, wanted *jetstream.StreamConfig) error {
	for _, s := range settings {
		f, w := s.of(found), s.of(wanted)
		if f == w || s.enough != nil && s.enough(found, wanted) {
			continue
		}
		if f == "" {
			f = "missing"
		}
		return &SettingError{Stream: found.Name, Setting: s.name, Found: f, Wanted: w}
	}
	return nil
}
