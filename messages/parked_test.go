package messages_test

import (
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/messages"
)

func TestParkedSubject(t *testing.T) {
	dotted, err := messages.EncodeID("a.1")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]messages.ParkedSubject{
		"shop.parked.list":                 {Context: "shop", Verb: messages.ParkedList},
		"shop.parked.status":               {Context: "shop", Verb: messages.ParkedStatus},
		"shop.parked.show.account.a=2E1":   {Context: "shop", Verb: messages.ParkedShow, Type: "account", ID: dotted},
		"shop.parked.retry.account.a=2E1":  {Context: "shop", Verb: messages.ParkedRetry, Type: "account", ID: dotted},
		"co-op.parked.skip.family_2.a=2E1": {Context: "co-op", Verb: messages.ParkedSkip, Type: "family_2", ID: dotted},
	} {
		if got := want.String(); got != text {
			t.Errorf("String() = %s, want %s", got, text)
		}
		if got, err := messages.ParseParkedSubject(text); err != nil || got != want {
			t.Errorf("ParseParkedSubject(%s) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                             "want <context>.parked.<verb>",
		"shop.parked":                  "want <context>.parked.<verb>",
		"shop.sagas.list":              "want <context>.parked.<verb>",
		"Shop.parked.list":             `context "Shop"`,
		"shop.parked.List":             `the verb "List" is unknown: there are status list show retry skip`,
		"shop.parked.list.account":     "want <context>.parked.list",
		"shop.parked.status.a":         "want <context>.parked.status",
		"shop.parked.show":             "want <context>.parked.show.<type>.<id>",
		"shop.parked.show.account.a.1": "a dot in an id is written =2E",
		"shop.parked.skip.Account.a":   `type "Account"`,
		"shop.parked.skip.account.":    "it is empty",
	} {
		if got, err := messages.ParseParkedSubject(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseParkedSubject(%q) = %+v, %v, want %s", in, got, err, want)
		}
	}
}
