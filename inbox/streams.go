package inbox

import (
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
	// format is that of the messages.
	format = "1"
	// attemptTimeout is how long one request may stay without an answer; all of them may be
	// sent again.
	attemptTimeout = 2 * time.Second
	// retryInterval is how long nobody is asked again who was not ready.
	retryInterval = 100 * time.Millisecond
)

// acceptedStream holds each command until its outcome is out. Without direct gets it is always
// the leader who is read.
func acceptedStream(c Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: c.Context.InboxStream(), Description: fmt.Sprintf("Holdfast: the commands in the inbox of %s that wait", c.Context),
		Subjects:  []string{fmt.Sprintf("%s.%s.>", c.Context, messages.KindAccepted)},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage, Replicas: c.Replicas,
		MaxMsgs: c.MaxWaiting, MaxBytes: c.MaxBytes, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
		Duplicates: c.Window, Metadata: map[string]string{metaFormat: format},
	}
}

// outcomeStream tells what became of commands.
func outcomeStream(c Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: c.Context.OutcomeStream(), Description: fmt.Sprintf("Holdfast: what became of the commands in the inbox of %s", c.Context),
		Subjects:  []string{fmt.Sprintf("%s.%s.>", c.Context, messages.KindOutcome)},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage, Replicas: c.Replicas,
		MaxAge: c.Retention, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
		Duplicates: leastRetention, DenyDelete: true, Metadata: map[string]string{metaFormat: format},
	}
}

// A SettingError says that a live stream is not what the inbox relies on.
type SettingError struct{ Stream, Setting, Found, Wanted string }

// Error says what to change.
func (e *SettingError) Error() string {
	return fmt.Sprintf("stream %s: its setting %s is %s, but must be %s", e.Stream, e.Setting, e.Found, e.Wanted)
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

var ofBoth = []setting{
	{name: "subjects", of: func(c *jetstream.StreamConfig) string { return strings.Join(c.Subjects, ", ") }},
	{name: "retention", of: func(c *jetstream.StreamConfig) string { return strings.ToLower(c.Retention.String()) }},
	{name: "storage", of: func(c *jetstream.StreamConfig) string { return strings.ToLower(c.Storage.String()) }},
	{
		name:   "num_replicas",
		of:     func(c *jetstream.StreamConfig) string { return strconv.Itoa(max(c.Replicas, 1)) },
		enough: func(found, wanted *jetstream.StreamConfig) bool { return found.Replicas >= wanted.Replicas },
	},
	{name: "persist_mode", of: func(c *jetstream.StreamConfig) string { return strings.ToLower(c.PersistMode.String()) }},
	{name: "metadata " + metaFormat, of: func(c *jetstream.StreamConfig) string { return c.Metadata[metaFormat] }},
	flag("allow_direct", func(c *jetstream.StreamConfig) bool { return c.AllowDirect }),
	flag("no_ack", func(c *jetstream.StreamConfig) bool { return c.NoAck }),
	flag("sealed", func(c *jetstream.StreamConfig) bool { return c.Sealed }),
	flag("allow_rollup_hdrs", func(c *jetstream.StreamConfig) bool { return c.AllowRollup }),
	flag("subject_transform", func(c *jetstream.StreamConfig) bool { return c.SubjectTransform != nil }),
	flag("max_msgs_per_subject", func(c *jetstream.StreamConfig) bool { return c.MaxMsgsPerSubject > 0 }),
}

// ofAccepted are what keeps a command from being lost before it has an outcome.
var ofAccepted = append(slices.Clip(ofBoth),
	setting{name: "discard", of: func(c *jetstream.StreamConfig) string { return strings.ToLower(c.Discard.String()) }},
	setting{name: "max_age", of: func(c *jetstream.StreamConfig) string { return c.MaxAge.String() }},
	flag("deny_delete", func(c *jetstream.StreamConfig) bool { return c.DenyDelete }),
	flag("allow_msg_ttl", func(c *jetstream.StreamConfig) bool { return c.AllowMsgTTL }),
)

// ofOutcomes are what keeps an outcome from being told twice. How many are kept, and for how
// long, is the operator's to say.
var ofOutcomes = ofBoth

// errMaking says that another node has just made what was not there.
var errMaking = errors.New("another node is making it")

func openStream(ctx context.Context, js jetstream.JetStream, wanted jetstream.StreamConfig, settings []setting) (jetstream.Stream, error) {
	var stream jetstream.Stream
	err := retry(ctx, func(ctx context.Context) (err error) {
		stream, err = js.Stream(ctx, wanted.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			stream, err = js.CreateStream(ctx, wanted)
		}
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return errMaking
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make stream %s, or read its settings: %w", wanted.Name, err)
	}
	found := stream.CachedInfo().Config
	for _, s := range settings {
		f, w := s.of(&found), s.of(&wanted)
		if f != w && (s.enough == nil || !s.enough(&found, &wanted)) {
			if f == "" {
				f = "missing"
			}
			return nil, &SettingError{Stream: wanted.Name, Setting: s.name, Found: f, Wanted: w}
		}
	}
	return stream, nil
}

// retry calls try until it has an answer that more patience would not change.
func retry(ctx context.Context, try func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := try(attempt)
		cancel()
		if err == nil || ctx.Err() == nil && !passing(err) {
			return err
		}
		if pause(ctx, retryInterval) != nil {
			return holdfast.Errorf(holdfast.CodeUnavailable, "JetStream is not ready: %v: %w", err, context.Cause(ctx))
		}
	}
}

const (
	codeNoPeers   = 10005 // servers have not found one another yet
	codeInProcess = 10158 // the same message is being stored
)

// passing reports whether an error is one that passes: there is no leader, or a new one,
// nobody answers, or too much is going on.
func passing(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		off := api.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabled || api.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabledForAccount
		return api.ErrorCode == codeNoPeers || api.ErrorCode == codeInProcess || (api.Code == 503 || api.Code == 429) && !off
	}
	for _, p := range []error{
		errMaking, jetstream.ErrNoStreamResponse, nats.ErrNoResponders, nats.ErrTimeout, context.DeadlineExceeded,
		nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting,
	} {
		if errors.Is(err, p) {
			return true
		}
	}
	return false
}

// pause waits, or gives the reason why it did not.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
