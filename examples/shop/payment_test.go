package shop_test

import (
	"testing"

	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/holdfasttest"
)

var (
	captured = &pb.PaymentCaptured{Amount: 9_90, Card: "tok-1"}
	refunded = &pb.PaymentRefunded{Amount: 9_90}
)

func TestPayment(t *testing.T) {
	capture := &pb.Capture{Amount: 9_90, Card: "tok-1"}
	check(t, shop.Payment, []rule{
		{"capture", nil, capture, events{captured}, ""},
		{"capture from a card that is declined", nil, &pb.Capture{Amount: 9_90, Card: "declined"}, nil, "card_declined"},
		{"capture from no card", nil, &pb.Capture{Amount: 9_90}, nil, "invalid_card"},
		{"capture nothing", nil, &pb.Capture{Card: "tok-1"}, nil, "invalid_amount"},
		{"capture less than nothing", nil, &pb.Capture{Amount: -1, Card: "tok-1"}, nil, "invalid_amount"},
		{"capture twice", events{captured}, capture, nil, "already_captured"},
		{"capture again once refunded", events{captured, refunded}, capture, nil, "already_captured"},

		{"refund", events{captured}, &pb.Refund{}, events{refunded}, ""},
		{"refund before capturing", nil, &pb.Refund{}, nil, ""},
		{"refund twice", events{captured, refunded}, &pb.Refund{}, nil, ""},
	})
}

func TestPaymentShown(t *testing.T) {
	t.Parallel()
	holdfasttest.Given(t, shop.Payment).
		ThenState(&pb.Payment{}).
		When(&pb.Capture{Amount: 9_90, Card: "tok-1"}).ThenState(&pb.Payment{Captured: 9_90}).
		When(&pb.Refund{}).ThenState(&pb.Payment{Captured: 9_90, Refunded: 9_90})
}

func TestPaymentGolden(t *testing.T) {
	t.Parallel()
	holdfasttest.Golden(t, shop.Payment, "payment.golden", captured, refunded)
}
