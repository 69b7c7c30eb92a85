package coop_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/coop"
	pb "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
	pb2 "github.com/holdfast-run/holdfast/examples/coop/coopv2pb"
	"github.com/holdfast-run/holdfast/holdfasttest"
)

type events = holdfast.Events

// a rule says what becomes of a command: events, a rejection, or nothing.
type rule struct {
	name     string
	given    events
	when     holdfast.Command
	then     events
	rejected string
}

func check(t *testing.T, rules []rule) {
	t.Helper()
	t.Parallel()
	for _, tt := range rules {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := holdfasttest.Given(t, coop.Family, tt.given...).When(tt.when)
			if tt.rejected != "" {
				o.ThenRejected(tt.rejected)
			} else {
				o.Then(tt.then...)
			}
		})
	}
}

var (
	joined   = &pb.FamilyEnrolled{FamilyName: "Lovelace", EnrollmentDate: "2026-09-01", ParentName: "Annabella", ChildrenCount: 1}
	ada      = &pb.ChildAdded{ChildName: "Ada", Age: 10, Grade: "5"}
	due      = &pb.PaymentFellDue{Amount: 240, DueDate: "2026-10-01"}
	late     = &pb.PaymentBecameOverdue{Amount: 240, DueDate: "2026-10-01"}
	paid     = &pb2.PaymentReceived{Amount: 240, Date: "2026-10-19", Method: "check"}
	locked   = &pb.PortalLocked{Reason: "overdue"}
	left     = &pb.FamilyWithdrawn{WithdrawalDate: "2026-10-31"}
	reversed = &pb.WithdrawalReversed{Reason: "a mistake", OriginalEventId: "family/f-1@2"}
)

func enroll(change func(*pb.EnrollFamily)) *pb.EnrollFamily {
	c := &pb.EnrollFamily{FamilyName: "Lovelace", EnrollmentDate: "2026-09-01", ParentName: "Annabella", ChildrenCount: 1}
	change(c)
	return c
}

func TestEnrolment(t *testing.T) {
	check(t, []rule{
		{"enrol", nil, enroll(func(*pb.EnrollFamily) {}), events{joined}, ""},
		{"enrol without a name", nil, enroll(func(c *pb.EnrollFamily) { c.FamilyName = "\t" }), nil, "invalid_family_name"},
		{"enrol without a parent", nil, enroll(func(c *pb.EnrollFamily) { c.ParentName = "" }), nil, "invalid_parent_name"},
		{"enrol on no day", nil, enroll(func(c *pb.EnrollFamily) { c.EnrollmentDate = "2026-02-30" }), nil, "invalid_date"},
		{"enrol on a day in another form", nil, enroll(func(c *pb.EnrollFamily) { c.EnrollmentDate = "1.9.2026" }), nil, "invalid_date"},
		{"enrol with fewer children than none", nil, enroll(func(c *pb.EnrollFamily) { c.ChildrenCount = -1 }), nil, "invalid_children_count"},
		{"enrol with too many children", nil, enroll(func(c *pb.EnrollFamily) { c.ChildrenCount = 31 }), nil, "invalid_children_count"},
		{"enrol twice", events{joined}, enroll(func(*pb.EnrollFamily) {}), nil, "already_enrolled"},
		{"enrol once withdrawn", events{joined, left}, enroll(func(*pb.EnrollFamily) {}), nil, "withdrawn"},

		{"withdraw", events{joined}, &pb.WithdrawFamily{WithdrawalDate: "2026-10-31"}, events{left}, ""},
		{"withdraw before enrolment", nil, &pb.WithdrawFamily{WithdrawalDate: "2026-10-31"}, nil, "not_enrolled"},
		{"withdraw on no day", events{joined}, &pb.WithdrawFamily{}, nil, "invalid_date"},
		{"withdraw from before the enrolment", events{joined}, &pb.WithdrawFamily{WithdrawalDate: "2026-08-31"}, nil, "invalid_date"},
		{"withdraw twice", events{joined, left}, &pb.WithdrawFamily{WithdrawalDate: "2026-10-31"}, nil, ""},
		{"withdraw twice, on another day", events{joined, left}, &pb.WithdrawFamily{WithdrawalDate: "2026-11-30"}, nil, "already_withdrawn"},
	})
}

func TestReverseWithdrawal(t *testing.T) {
	reverse := func(id string) *pb.ReverseWithdrawal {
		return &pb.ReverseWithdrawal{Reason: "a mistake", OriginalEventId: id}
	}
	check(t, []rule{
		{"reverse", events{joined, left}, reverse("family/f-1@2"), events{reversed}, ""},
		{"reverse before enrolment", nil, reverse("family/f-1@2"), nil, "not_enrolled"},
		{"reverse nothing", events{joined}, reverse("family/f-1@2"), nil, "not_withdrawn"},
		{"reverse twice", events{joined, left, reversed}, reverse("family/f-1@2"), nil, ""},
		{"reverse another withdrawal once reversed", events{joined, left, reversed}, reverse("family/f-1@3"), nil, "not_withdrawn"},
		{"reverse the last withdrawal in the name of an earlier one", events{joined, left, reversed, left}, reverse("family/f-1@2"), nil, "already_reversed"},
		{"reverse without a reason", events{joined, left}, &pb.ReverseWithdrawal{OriginalEventId: "family/f-1@2"}, nil, "invalid_reason"},
		{"reverse nothing in particular", events{joined, left}, reverse(""), nil, "invalid_event_id"},
		{"reverse version 0", events{joined, left}, reverse("family/f-1@0"), nil, "invalid_event_id"},
		{"reverse an event of another type", events{joined, left}, reverse("account/a-1@2"), nil, "invalid_event_id"},
		{"reverse of an escaped id", events{joined, left}, reverse("family/f=2E1@12"), events{&pb.WithdrawalReversed{Reason: "a mistake", OriginalEventId: "family/f=2E1@12"}}, ""},
	})
}

func TestChildren(t *testing.T) {
	var thirty events
	for i := range 30 {
		thirty = append(thirty, &pb.ChildAdded{ChildName: fmt.Sprint("child ", i), Age: 9, Grade: "3"})
	}
	check(t, []rule{
		{"add", events{joined}, &pb.AddChild{ChildName: "Ada", Age: 10, Grade: "5"}, events{ada}, ""},
		{"add before enrolment", nil, &pb.AddChild{ChildName: "Ada", Age: 10, Grade: "5"}, nil, "not_enrolled"},
		{"add once withdrawn", events{joined, left}, &pb.AddChild{ChildName: "Ada", Age: 10, Grade: "5"}, nil, "withdrawn"},
		{"add nobody", events{joined}, &pb.AddChild{Age: 10, Grade: "5"}, nil, "invalid_child_name"},
		{"add the unborn", events{joined}, &pb.AddChild{ChildName: "Ada", Grade: "5"}, nil, "invalid_age"},
		{"add the grown up", events{joined}, &pb.AddChild{ChildName: "Ada", Age: 22, Grade: "5"}, nil, "invalid_age"},
		{"add without a grade", events{joined}, &pb.AddChild{ChildName: "Ada", Age: 10}, nil, "invalid_grade"},
		{"add twice", events{joined, ada}, &pb.AddChild{ChildName: "Ada", Age: 10, Grade: "5"}, nil, ""},
		{"add another of that name", events{joined, ada}, &pb.AddChild{ChildName: "Ada", Age: 11, Grade: "5"}, nil, "duplicate_child"},
		{"add a thirty-first", append(events{joined}, thirty...), &pb.AddChild{ChildName: "Ada", Age: 10, Grade: "5"}, nil, "too_many_children"},

		{"score", events{joined}, &pb.UpdateEngagementScore{Score: 100}, events{&pb.EngagementScoreUpdated{Score: 100}}, ""},
		{"score as it was", events{joined}, &pb.UpdateEngagementScore{}, nil, ""},
		{"score too high", events{joined}, &pb.UpdateEngagementScore{Score: 101}, nil, "invalid_score"},
		{"score too low", events{joined}, &pb.UpdateEngagementScore{Score: -1}, nil, "invalid_score"},
		{"score once withdrawn", events{joined, left}, &pb.UpdateEngagementScore{Score: 1}, nil, "withdrawn"},
		{"score before enrolment", nil, &pb.UpdateEngagementScore{Score: 1}, nil, "not_enrolled"},
	})
}

func TestPayments(t *testing.T) {
	pay := &pb.ReceivePayment{Amount: 240, Date: "2026-10-19", PaymentMethod: "check"}
	check(t, []rule{
		{"due", events{joined}, &pb.RecordPaymentDue{Amount: 240, DueDate: "2026-10-01"}, events{due}, ""},
		{"due before enrolment", nil, &pb.RecordPaymentDue{Amount: 240, DueDate: "2026-10-01"}, nil, "not_enrolled"},
		{"due once withdrawn", events{joined, left}, &pb.RecordPaymentDue{Amount: 240, DueDate: "2026-10-01"}, nil, "withdrawn"},
		{"due of nothing", events{joined}, &pb.RecordPaymentDue{DueDate: "2026-10-01"}, nil, "invalid_amount"},
		{"due of a slip of the pen", events{joined}, &pb.RecordPaymentDue{Amount: 100_000_001, DueDate: "2026-10-01"}, nil, "invalid_amount"},
		{"due on no day", events{joined}, &pb.RecordPaymentDue{Amount: 240, DueDate: "soon"}, nil, "invalid_date"},

		{"overdue", events{joined, due}, &pb.RecordPaymentOverdue{Amount: 240, DueDate: "2026-10-01"}, events{late}, ""},
		{"overdue once withdrawn", events{joined, due, left}, &pb.RecordPaymentOverdue{Amount: 240, DueDate: "2026-10-01"}, events{late}, ""},
		{"overdue before enrolment", nil, &pb.RecordPaymentOverdue{Amount: 240, DueDate: "2026-10-01"}, nil, "not_enrolled"},
		{"overdue of what is not due", events{joined}, &pb.RecordPaymentOverdue{Amount: 1, DueDate: "2026-10-01"}, nil, "not_due"},
		{"overdue twice", events{joined, due, late}, &pb.RecordPaymentOverdue{Amount: 240, DueDate: "2026-10-01"}, nil, "not_due"},
		{"overdue when paid ahead", events{joined, paid}, &pb.RecordPaymentOverdue{Amount: 1, DueDate: "2026-10-01"}, nil, "not_due"},

		{"overdue of more than is left of what was paid ahead", events{joined, due, late, &pb2.PaymentReceived{Amount: 300}, due}, &pb.RecordPaymentOverdue{Amount: 181, DueDate: "2026-12-01"}, nil, "not_due"},

		{"paid", events{joined, due, late}, pay, events{paid}, ""},
		{"paid ahead", events{joined}, pay, events{paid}, ""},
		{"paid once withdrawn", events{joined, left}, pay, events{paid}, ""},
		{"paid before enrolment", nil, pay, nil, "not_enrolled"},
		{"paid nothing", events{joined}, &pb.ReceivePayment{Date: "2026-10-19", PaymentMethod: "check"}, nil, "invalid_amount"},
		{"paid on no day", events{joined}, &pb.ReceivePayment{Amount: 240, PaymentMethod: "check"}, nil, "invalid_date"},
		{"paid by no method", events{joined}, &pb.ReceivePayment{Amount: 240, Date: "2026-10-19"}, nil, "invalid_payment_method"},
	})
}

func TestPortal(t *testing.T) {
	check(t, []rule{
		{"lock", events{joined}, &pb.LockPortal{Reason: "overdue"}, events{locked}, ""},
		{"lock twice", events{joined, locked}, &pb.LockPortal{Reason: "once more"}, nil, ""},
		{"lock before enrolment", nil, &pb.LockPortal{}, nil, "not_enrolled"},
		{"lock once withdrawn", events{joined, left}, &pb.LockPortal{}, nil, "withdrawn"},
		{"restore", events{joined, locked}, &pb.RestorePortal{}, events{&pb.PortalRestored{}}, ""},
		{"restore what is open", events{joined}, &pb.RestorePortal{}, nil, ""},
		{"restore before enrolment", nil, &pb.RestorePortal{}, nil, "not_enrolled"},
		{"restore before paying", events{joined, due, late, locked}, &pb.RestorePortal{}, nil, "payment_overdue"},
		{"restore after paying", events{joined, due, late, locked, paid}, &pb.RestorePortal{}, events{&pb.PortalRestored{}}, ""},
	})
}

func TestFamilyShown(t *testing.T) {
	t.Parallel()
	holdfasttest.Given(t, coop.Family,
		joined, ada, &pb.ChildAdded{ChildName: "Ralph", Age: 7, Grade: "2"},
		due, late, locked,
		&pb.PaymentReceived{Amount: 100, Date: "2026-10-05"}, // as it was recorded in the first years
		&pb.EngagementScoreUpdated{Score: 82}, left,
	).ThenState(&pb.Family{
		FamilyName: "Lovelace", ParentName: "Annabella",
		Status: "withdrawn", EnrollmentDate: "2026-09-01", WithdrawalDate: "2026-10-31",
		ChildrenCount: 2,
		Children:      []*pb.Child{{ChildName: "Ada", Age: 10, Grade: "5"}, {ChildName: "Ralph", Age: 7, Grade: "2"}},
		PaymentStatus: "overdue", Outstanding: 140, Overdue: 140, DueDate: "2026-10-01",
		TotalPaid: 100, Payments: 1, LastPaymentDate: "2026-10-05", LastPaymentMethod: "unknown",
		PortalLocked: true, PortalLockReason: "overdue", EngagementScore: 82,
	}).When(
		&pb.ReceivePayment{Amount: 140, Date: "2026-11-02", PaymentMethod: "card"},
	).Then(
		&pb2.PaymentReceived{Amount: 140, Date: "2026-11-02", Method: "card"},
	).When(
		&pb.ReverseWithdrawal{Reason: "a mistake", OriginalEventId: "family/f-1@9"},
	).ThenState(&pb.Family{
		FamilyName: "Lovelace", ParentName: "Annabella",
		Status: "enrolled", EnrollmentDate: "2026-09-01", ReversedEventId: "family/f-1@9",
		ChildrenCount: 2,
		Children:      []*pb.Child{{ChildName: "Ada", Age: 10, Grade: "5"}, {ChildName: "Ralph", Age: 7, Grade: "2"}},
		PaymentStatus: "paid",
		TotalPaid:     240, Payments: 2, LastPaymentDate: "2026-11-02", LastPaymentMethod: "card",
		PortalLocked: true, PortalLockReason: "overdue", EngagementScore: 82,
	})
}

func TestFamilyGolden(t *testing.T) {
	t.Parallel()
	holdfasttest.Golden(t, coop.Family, "family.golden",
		joined, ada, due, late, locked, left, reversed,
		&pb.PaymentReceived{Amount: 240, Date: "2024-10-02"},
		paid,
		&pb.PortalRestored{},
		&pb.EngagementScoreUpdated{Score: 82},
	)
}
