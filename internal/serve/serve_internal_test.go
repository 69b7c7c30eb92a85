package serve

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast"
)

func TestFlightThatIsClosed(t *testing.T) {
	t.Parallel()
	f := newFlight(2, 10)
	if err := f.enter(10); err != nil {
		t.Fatal(err)
	}
	f.close()
	f.close()
	if err := f.enter(0); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("a request was let in after the close: %v", err)
	}
	select {
	case <-f.empty:
		t.Error("it calls itself empty with a request under way")
	default:
	}
	f.leave(10)
	<-f.empty
}

func TestAnswerable(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]bool{
		"_INBOX.x.y": true, "_R_.x": true, "answers.of.mine": true, "bank2.x": true, "shop": true, "inbox.log": false,
		"bank": false, "bank.x": false, "shop.log.0.order.o-1": false, "shop.inbox.order.o-1.Place": false, "shop.sagas.cancel.checkout.o-1": false,
		"Shop.log.x": true, "$JS.API.INFO": false, "$": false, "": false, "a..b": false, "a.*": false, "a.>": false, "a*.b>": true,
	} {
		if got := answerable("bank", reply); got != want {
			t.Errorf("answerable(%q) = %v", reply, got)
		}
	}
}

func TestSentence(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "otherwise", " \n": "otherwise", "a\tb": "a b", "a\xffb": "a\ufffdb",
		strings.Repeat("x", 512):               strings.Repeat("x", 512),
		strings.Repeat("x", 513):               strings.Repeat("x", 512) + "…",
		"x" + strings.Repeat("é", maxSentence): "x" + strings.Repeat("é", 255) + "…",
	} {
		if got := Sentence(in, "otherwise"); got != want {
			t.Errorf("Sentence(%q) = %q", in, got)
		}
	}
}
