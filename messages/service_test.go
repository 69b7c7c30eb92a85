package messages_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/messages"
)

func TestLogName(t *testing.T) {
	made := time.Date(2026, 3, 14, 10, 26, 53, 500, time.FixedZone("", 3600))
	name := messages.NewLogName(made)
	if name != "20260314T092653.000000500Z" {
		t.Errorf("a log made at %s is called %s", made, name)
	}
	if got, err := messages.ParseLogName(string(name)); err != nil || got != name {
		t.Errorf("ParseLogName(%s) = %s, %v", name, got, err)
	}
	for _, odd := range []string{"", "today", "20260314T092653Z", "20260314T092653.5Z", "20260314T092653,000000500Z", "20261314T092653.000000500Z", "../" + string(name), string(name) + "\n"} {
		if got, err := messages.ParseLogName(odd); err == nil || got != "" || !strings.Contains(err.Error(), "want a name like 20260314T092653.589793238Z") {
			t.Errorf("ParseLogName(%q) = %s, %v", odd, got, err)
		}
	}
}
