package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

const (
	metaFormat = "holdfast-format"
	// format is that of the marks: JSON.
	format = 1
	// dedupWindow is as short as is sensible: no message has an id.
	dedupWindow = time.Second
)

// A SettingError says that the live stream is not what the feed relies on.
type SettingError struct{ Stream, Setting, Found, Wanted string }

// Error says what to change, in the words of the nats command line.
func (e *SettingError) Error() string {
	return fmt.Sprintf("stream %s: its setting %s is %s, but must be %s", e.Stream, e.Setting, e.Found, e.Wanted)
}

// inlet is where an event is published, from where the stream takes it to its own subject.
// Who subscribes to that one hears of an event when the stream has it, and not before.
func inlet(s messages.Subject) string {
	return strings.Replace(s.String(), ".", ".fed.", 1)
}

func streamConfig(c Config) jetstream.StreamConfig {
	events := fmt.Sprintf("%s.%s.>", c.Context, messages.KindEvent)
	return jetstream.StreamConfig{
		Name:               c.Context.FeedStream(),
		Description:        fmt.Sprintf("Holdfast: the public events of %s", c.Context),
		Subjects:           []string{string(c.Context) + ".fed.>"},
		SubjectTransform:   &jetstream.SubjectTransformConfig{Source: fmt.Sprintf("%s.fed.%s.>", c.Context, messages.KindEvent), Destination: events},
		RePublish:          &jetstream.RePublish{Source: events, Destination: events},
		Retention:          jetstream.LimitsPolicy,
		MaxConsumers:       -1,
		MaxMsgs:            -1,
		MaxBytes:           c.MaxBytes,
		MaxAge:             c.MaxAge,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		Discard:            jetstream.DiscardOld,
		Storage:            jetstream.FileStorage,
		Replicas:           c.Replicas,
		Duplicates:         min(dedupWindow, c.MaxAge),
		AllowDirect:        true,
		AllowAtomicPublish: true,
		Metadata:           map[string]string{metaFormat: strconv.Itoa(format)},
	}
}

// settings are those by which a feed would have gaps or repeats, or stand still, if they
// were others.
var settings = []struct {
	name string
	of   func(c *jetstream.StreamConfig) string
}{
	{"subjects", func(c *jetstream.StreamConfig) string {
		return strings.Join(slices.Sorted(slices.Values(c.Subjects)), ", ")
	}},
	{"retention", func(c *jetstream.StreamConfig) string { return strings.ToLower(c.Retention.String()) }},
	{"discard", func(c *jetstream.StreamConfig) string { return strings.ToLower(c.Discard.String()) }},
	{"storage", func(c *jetstream.StreamConfig) string { return strings.ToLower(c.Storage.String()) }},
	{"allow_atomic", func(c *jetstream.StreamConfig) string { return strconv.FormatBool(c.AllowAtomicPublish) }},
	{"no_ack", func(c *jetstream.StreamConfig) string { return strconv.FormatBool(c.NoAck) }},
	{"sealed", func(c *jetstream.StreamConfig) string { return strconv.FormatBool(c.Sealed) }},
	{"subject_transform", func(c *jetstream.StreamConfig) string {
		if c.SubjectTransform == nil {
			return ""
		}
		return c.SubjectTransform.Source + " to " + c.SubjectTransform.Destination
	}},
	{"republish", func(c *jetstream.StreamConfig) string {
		if c.RePublish == nil {
			return ""
		}
		return c.RePublish.Source + " to " + c.RePublish.Destination
	}},
	{"max_msgs_per_subject", func(c *jetstream.StreamConfig) string { return limit(c.MaxMsgsPerSubject) }},
	{"max_msg_size", func(c *jetstream.StreamConfig) string { return limit(int64(c.MaxMsgSize)) }},
	{"metadata " + metaFormat, func(c *jetstream.StreamConfig) string { return c.Metadata[metaFormat] }},
}

// limit is a number that stands for no limit when it is not positive.
func limit(n int64) string {
	if n > 0 {
		return strconv.FormatInt(n, 10)
	}
	return "unlimited"
}

func compare(found, wanted *jetstream.StreamConfig) error {
	for _, s := range settings {
		if f, w := s.of(found), s.of(wanted); f != w {
			return &SettingError{wanted.Name, s.name, cmp.Or(f, "missing"), w}
		}
	}
	if found.Replicas < wanted.Replicas {
		return &SettingError{wanted.Name, "num_replicas", strconv.Itoa(found.Replicas), strconv.Itoa(wanted.Replicas)}
	}
	return nil
}

// openStream makes the stream, or has the one that exists keep its messages as long as is
// wanted, if it is set to. The error is a *[SettingError] when it cannot be used.
func (f *Feed) openStream(ctx context.Context, set bool) error {
	wanted := streamConfig(f.config)
	s, err := f.js.Stream(ctx, f.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = f.makeStream(ctx, &wanted)
	}
	if err != nil {
		return fmt.Errorf("make stream %s, or read its settings: %w", f.stream, hint(err))
	}
	found := s.CachedInfo().Config
	if err := compare(&found, &wanted); err != nil {
		return err
	}
	if !set || found.MaxAge == wanted.MaxAge && found.MaxBytes == wanted.MaxBytes {
		return nil
	}
	if f.config.fits && found.MaxBytes > 0 { // as much as there was room for
		wanted.MaxBytes = found.MaxBytes
	}
	found.MaxAge, found.MaxBytes, found.Duplicates = wanted.MaxAge, wanted.MaxBytes, wanted.Duplicates
	if _, err := f.js.UpdateStream(ctx, found); err != nil {
		return fmt.Errorf("change how long stream %s keeps its messages: %w", f.stream, hint(err))
	}
	return nil
}

// makeStream makes the stream: smaller than wanted, when nobody has said how large it is to be,
// and there is no room for that. Of several servers JetStream then says only that too few are
// fit for it, as it does when they have not found one another, though that of the log is there.
func (f *Feed) makeStream(ctx context.Context, wanted *jetstream.StreamConfig) (jetstream.Stream, error) {
	for {
		s, err := f.js.CreateStream(ctx, *wanted)
		if !f.config.fits || !noRoom(err) && !noPeers(err) || wanted.MaxBytes <= leastBytes {
			return s, err
		}
		wanted.MaxBytes = max(wanted.MaxBytes/4, leastBytes) // others are to have some
		f.config.Logger.Warn("there is less room for the feed than it has by default", "stream", f.stream, "bytes", wanted.MaxBytes)
	}
}

// leastBytes is how large the feed is at the least.
const leastBytes = 1 << 20

// codeNoRoom is JetStream's code for a stream that may become larger than there is room.
const codeNoRoom = 10047

func noRoom(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == codeNoRoom
}

func noPeers(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == codeNoPeers
}

func hint(err error) error {
	if noRoom(err) {
		return fmt.Errorf("there is no room for as much as MaxBytes says: choose less: %w", err)
	}
	return err
}

// awaitStream opens the stream, and tries again while JetStream is not ready, until ctx ends.
func (f *Feed) awaitStream(ctx context.Context, set bool) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := f.openStream(attempt, set)
		cancel()
		if err == nil || ctx.Err() == nil && !passing(err) {
			return err
		}
		if pause(ctx, retryInterval) != nil {
			return holdfast.Errorf(holdfast.CodeUnavailable, "JetStream is not ready: %v: %w", err, context.Cause(ctx))
		}
	}
}

// codeNoPeers is JetStream's code for servers that have not found one another yet.
const codeNoPeers = 10005

// passing reports whether an error is one that passes: there is no leader, or a new one,
// nobody answers, or another node is making the stream.
func passing(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		off := api.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabled || api.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabledForAccount
		return api.ErrorCode == codeNoPeers || api.ErrorCode == jetstream.JSErrCodeStreamNameInUse || (api.Code == 503 || api.Code == 429) && !off
	}
	return slices.ContainsFunc([]error{
		jetstream.ErrNoStreamResponse, nats.ErrNoResponders, nats.ErrTimeout, context.DeadlineExceeded,
		nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting,
	}, func(p error) bool { return errors.Is(err, p) })
}
