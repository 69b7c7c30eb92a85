package messages_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/messages"
)

func TestViewSubject(t *testing.T) {
	for text, want := range map[string]messages.ViewSubject{
		"shop.view.orders.o-1":          {Context: "shop", Projection: "orders", Key: mustID(t, "o-1")},
		"my-shop.view.per_day.a=2Eb=20": {Context: "my-shop", Projection: "per_day", Key: mustID(t, "a.b ")},
	} {
		if got := want.String(); got != text {
			t.Errorf("String() = %s, want %s", got, text)
		}
		if got, err := messages.ParseViewSubject(text); err != nil || got != want {
			t.Errorf("ParseViewSubject(%s) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                      "want <context>.view.<projection>.<key>",
		"shop.view.orders":      "want <context>.view.<projection>.<key>",
		"shop.view.orders.a.b":  "where a dot in a key is written =2E",
		"shop.get.orders.a":     "want <context>.view.<projection>.<key>",
		"Shop.view.orders.a":    `context "Shop"`,
		"shop.view.Orders.a":    `projection "Orders": want a small letter`,
		"shop.view.or-ders.a":   `projection "or-ders"`,
		"shop.view.orders.a:b":  "must be written =3A",
		"shop.view.orders.":     "it is empty",
		"shop.view.orders.a=2e": "two capital hex digits",
	} {
		if got, err := messages.ParseViewSubject(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseViewSubject(%q) = %+v, %v, want %s", in, got, err, want)
		}
	}
}

func TestProjectionSubject(t *testing.T) {
	for text, want := range map[string]messages.ProjectionSubject{
		"shop.projections.list":          {Context: "shop", Verb: messages.ProjectionList},
		"shop.projections.parked":        {Context: "shop", Verb: messages.ProjectionParked},
		"shop.projections.parked.orders": {Context: "shop", Verb: messages.ProjectionParked, Projection: "orders"},
		"shop.projections.switch.a_1":    {Context: "shop", Verb: messages.ProjectionSwitch, Projection: "a_1"},
	} {
		if got := want.String(); got != text {
			t.Errorf("String() = %s, want %s", got, text)
		}
		if got, err := messages.ParseProjectionSubject(text); err != nil || got != want {
			t.Errorf("ParseProjectionSubject(%s) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                              "want <context>.projections.<verb>",
		"shop.projections":              "want <context>.projections.<verb>",
		"shop.sagas.list":               "want <context>.projections.<verb>",
		"Shop.projections.list":         `context "Shop"`,
		"shop.projections.List":         `the verb "List" is unknown: there are list parked show pause`,
		"shop.projections.list.orders":  "want <context>.projections.list",
		"shop.projections.show":         "want <context>.projections.show.<projection>",
		"shop.projections.show.a.b":     "want <context>.projections.show.<projection>",
		"shop.projections.show.Orders":  `projection "Orders"`,
		"shop.projections.parked.a.b.c": "want <context>.projections.parked.<projection>",
	} {
		if got, err := messages.ParseProjectionSubject(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseProjectionSubject(%q) = %+v, %v, want %s", in, got, err, want)
		}
	}
}

func TestHeaderAfter(t *testing.T) {
	h, err := messages.ParseRequestHeader(messages.KindView, header{"Holdfast-After": {"0-7, 2-19"}})
	if err != nil || fmt.Sprintf("%q", h.After) != `["0-7" "2-19"]` {
		t.Errorf("got %q, %v", h.After, err)
	}
	for in, want := range map[string]string{
		"": "want a position such as 0-42", "0-7,": "want a position such as 0-42", "0-7 0-8": "want a position such as 0-42",
		"7": "want a position such as 0-42", "0-07": "want a position such as 0-42", "-1-7": "want a position such as 0-42",
		"0-7,0-8": "it has two positions of partition 0: give the later one",
	} {
		_, err := messages.ParseRequestHeader(messages.KindView, header{"Holdfast-After": {in}})
		if err == nil || !strings.Contains(err.Error(), "header Holdfast-After: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
	if _, err := messages.ParseRequestHeader(messages.KindGet, header{"Holdfast-After": {"0-7"}}); err == nil || !strings.Contains(err.Error(), "it is for view requests, not for get") {
		t.Errorf("of a get: %v", err)
	}
}
