package messages_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast/messages"
)

func TestDeskSubject(t *testing.T) {
	for text, want := range map[string]messages.DeskSubject{
		"shop.sagas.list":                   {Context: "shop", Verb: messages.DeskList},
		"shop.sagas.show.checkout.o=2E1":    {Context: "shop", Verb: messages.DeskShow, Saga: "checkout", ID: mustID(t, "o.1")},
		"my-shop.sagas.force.check_out.o-1": {Context: "my-shop", Verb: messages.DeskForce, Saga: "check_out", ID: mustID(t, "o-1")},
	} {
		if got := want.String(); got != text {
			t.Errorf("String() = %s, want %s", got, text)
		}
		if got, err := messages.ParseDeskSubject(text); err != nil || got != want {
			t.Errorf("ParseDeskSubject(%s) = %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestParseDeskSubjectRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                `subject "": want <context>.sagas.<verb>`,
		"shop.sagas":                      "want <context>.sagas.<verb>",
		"shop.cmd.checkout.o-1":           "want <context>.sagas.<verb>",
		"Shop.sagas.list":                 `context "Shop"`,
		"shop.sagas.List":                 `the verb "List" is unknown: there are list show retry skip edit resume cancel force`,
		"shop.sagas.list.checkout":        "want <context>.sagas.list",
		"shop.sagas.show":                 "want <context>.sagas.show.<saga>.<id>",
		"shop.sagas.skip.checkout":        "want <context>.sagas.skip.<saga>.<id>",
		"shop.sagas.show.checkout.o.1":    "where a dot in an id is written =2E",
		"shop.sagas.show.Checkout.o-1":    `type "Checkout"`,
		"shop.sagas.show.checkout.o:1":    "must be written =3A",
		"shop.sagas.show.checkout.":       "id: it is empty",
		"shop.sagas.show.checkout.=2e":    "two capital hex digits",
		"shop.sagas.retry.checkout.o-1.x": "want <context>.sagas.retry.<saga>.<id>",
	} {
		if got, err := messages.ParseDeskSubject(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseDeskSubject(%q) = %+v, %v, want %s", in, got, err, want)
		}
	}
}

func TestOwn(t *testing.T) {
	if !messages.Own(&messages.SagaReport{}) || !messages.Own(&messages.Void{}) {
		t.Error("a message of ours is called another's")
	}
	if messages.Own(&anypb.Any{}) {
		t.Error("a message of others is called ours")
	}
}
