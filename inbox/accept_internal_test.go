package inbox

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// answers are what JetStream says to one attempt after the other, the last one ever after.
type answers struct {
	jetstream.JetStream
	all []error
}

func (a *answers) PublishMsg(context.Context, *nats.Msg, ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	err := a.all[0]
	if len(a.all) > 1 {
		a.all = a.all[1:]
	}
	return nil, err
}

// A stream that is full says that it has not taken this attempt. Of one before, whose answer was lost,
// it says nothing.
func TestAcceptOfAFullStream(t *testing.T) {
	t.Parallel()
	full := &jetstream.APIError{Code: 503, ErrorCode: codeStoreFailed, Description: "maximum messages exceeded"}
	subject, err := messages.ParseSubject("bank.accepted.account.ada.Deposit")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		all  []error
		want error
		says string
	}{
		{"at once", []error{full}, holdfast.ErrOverloaded, "it was not accepted"},
		{"after a lost answer", []error{nats.ErrTimeout, full}, holdfast.ErrUncertain, "not known"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), answerTime+3*retryInterval)
		b := &Inbox{core: &answers{all: tt.all}}
		_, _, err := b.accept(ctx, &command{subject: subject, meta: holdfast.Meta{ID: "c", At: time.Unix(0, 0)}})
		cancel()
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// slow says after half a second that there is no stream.
type slow struct{ jetstream.JetStream }

func (slow) PublishMsg(ctx context.Context, _ *nats.Msg, _ ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return nil, err
	}
	return nil, jetstream.ErrNoStreamResponse
}

// An attempt for whose answer no time is left is not begun: what was clear would not be any more.
func TestAcceptWithoutAStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, _, err := (&Inbox{core: slow{}}).accept(ctx, &command{meta: holdfast.Meta{ID: "c", At: time.Unix(0, 0)}})
		if !errors.Is(err, holdfast.ErrUnavailable) || !strings.Contains(err.Error(), "it was not accepted") {
			t.Error(err)
		}
	})
}
