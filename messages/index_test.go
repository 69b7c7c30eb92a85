package messages_test

import (
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/messages"
)

func TestIndexSubject(t *testing.T) {
	for text, verb := range map[string]messages.IndexVerb{
		"my-shop.index.events": messages.IndexEvents, "my-shop.index.explain": messages.IndexExplain,
	} {
		if got := messages.IndexSubject("my-shop", verb); got != text {
			t.Errorf("IndexSubject(%s) = %s, want %s", verb, got, text)
		}
		if c, v, err := messages.ParseIndexSubject(text); err != nil || c != "my-shop" || v != verb {
			t.Errorf("ParseIndexSubject(%s) = %s, %s, %v", text, c, v, err)
		}
	}
	if got := messages.IndexSubjects("my-shop"); got != "my-shop.index.*" {
		t.Errorf("IndexSubjects() = %s", got)
	}
	for in, want := range map[string]string{
		"":                    `subject "": want <context>.index.<verb>`,
		"shop.index":          "want <context>.index.<verb>",
		"shop.index.events.a": "want <context>.index.<verb>",
		"shop.cmd.events":     "want <context>.index.<verb>",
		"shop.index.Events":   `the verb "Events" is unknown: there are events and explain`,
		"shop.index.":         `the verb "" is unknown`,
		"Shop.index.events":   `context "Shop"`,
	} {
		if c, v, err := messages.ParseIndexSubject(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseIndexSubject(%q) = %s, %s, %v, want %s", in, c, v, err, want)
		}
	}
}
