package feed_test

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/feed"
)

// An answerer answers whatever is asked.
type answerer string

func (answerer) PublishMsg(*nats.Msg) error { return nil }

func (a answerer) RequestMsgWithContext(context.Context, *nats.Msg) (*nats.Msg, error) {
	return &nats.Msg{Data: []byte(a)}, nil
}

// TestAck: nothing but the right answer says that a batch is written.
func TestAck(t *testing.T) {
	for answer, want := range map[string]string{
		`{"stream":"X","seq":7,"batch":"b","count":2}`:                       "",
		`{"stream":"Y","seq":7,"batch":"b","count":2}`:                       "not stream X 2",
		`{"stream":"X","seq":7,"batch":"b","count":1}`:                       "took 1 messages",
		`{"stream":"X","seq":7}`:                                             "took 0 messages",
		`{"stream":"X","count":2}`:                                           "up to 0",
		`{"error":{"code":400,"err_code":10071,"description":"wrong last"}}`: "wrong last",
		``:    "cannot be read",
		`+OK`: "cannot be read",
	} {
		list := []*nats.Msg{{Header: nats.Header{}}, {Header: nats.Header{}}}
		seq, err := feed.PublishBatch(t.Context(), answerer(answer), "X", "b", list)
		if want == "" && (err != nil || seq != 7) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %d, %v, want %q", answer, seq, err, want)
		}
	}
}
