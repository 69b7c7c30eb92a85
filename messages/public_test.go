package messages_test

import (
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/messages"
)

func TestPublicNames(t *testing.T) {
	const c = messages.Context("co-op")
	for got, want := range map[string]string{
		c.FeedStream():              "CO-OP_FEED",
		c.OutcomeStream():           "CO-OP_OUTCOMES",
		c.FeedSubjects():            "co-op.evt.>",
		c.FeedStatusSubject():       "co-op.feed.status",
		c.OutcomeSubjects():         "co-op.outcome.>",
		c.InboxSubjects():           "co-op.inbox.>",
		c.ViewSubjects():            "co-op.view.>",
		c.ViewsSubject():            "co-op.views",
		c.ViewBucketPrefix():        "co-op_view_",
		c.ViewBucket("balances", 3): "co-op_view_balances_3",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestIsPublic(t *testing.T) {
	const c = messages.Context("bank")
	for stream, want := range map[string]bool{
		"BANK_FEED":                         true,
		"BANK_OUTCOMES":                     true,
		"KV_" + c.ViewBucket("balances", 1): true,
		"KV_bank_view_x":                    true,
		"KV_bank_view_":                     false,
		"KV_bank_view_a.b":                  false,
		"KV_bank_view_*":                    false,
		"bank_view_balances_1":              false,
		"KV_shop_view_balances_1":           false,
		"KV_BANK_MEMBERS":                   false,
		"BANK_LOG_0":                        false,
		"BANK_SNAPSHOTS":                    false,
		"SHOP_FEED":                         false,
		"BANK_FEED_2":                       false,
		"bank_feed":                         false,
		"":                                  false,
		"*":                                 false,
		"KV_bank_view_" + strings.Repeat("x", 129): false,
	} {
		if got := c.IsPublic(stream); got != want {
			t.Errorf("IsPublic(%q) = %v", stream, got)
		}
	}
}
