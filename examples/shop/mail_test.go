package shop_test

import (
	"testing"

	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/holdfasttest"
)

var notified = &pb.Notified{To: "ada", Text: "It is on its way."}

func TestMail(t *testing.T) {
	check(t, shop.Mail, []rule{
		{"notify", nil, &pb.Notify{To: "ada", Text: "It is on its way."}, events{notified}, ""},
		{"notify nobody", nil, &pb.Notify{To: "nobody", Text: "It is on its way."}, nil, "bounced"},
		{"notify whom", nil, &pb.Notify{Text: "It is on its way."}, nil, "incomplete"},
		{"notify of nothing", nil, &pb.Notify{To: "ada"}, nil, "incomplete"},
		{"notify twice", events{notified}, &pb.Notify{To: "ada", Text: "It is on its way."}, nil, ""},
		{"notify of more", events{notified}, &pb.Notify{To: "ada", Text: "It is there."}, events{&pb.Notified{To: "ada", Text: "It is there."}}, ""},
	})
}

func TestMailShown(t *testing.T) {
	t.Parallel()
	holdfasttest.Given(t, shop.Mail).
		ThenState(&pb.Mail{}).
		When(&pb.Notify{To: "ada", Text: "It is on its way."}).ThenState(&pb.Mail{To: "ada", Text: "It is on its way."})
}

func TestMailGolden(t *testing.T) {
	t.Parallel()
	holdfasttest.Golden(t, shop.Mail, "mail.golden", notified)
}
