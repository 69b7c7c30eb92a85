package coop

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
	pb2 "github.com/holdfast-run/holdfast/examples/coop/coopv2pb"
)

const (
	maxChildren = 30
	maxAge      = 21
	maxScore    = 100
	// maxAmount is a million: more is a slip of the pen, and sums stay far from the
	// end of an int64.
	maxAmount = 1_000_000_00
)

func (f family) enroll(c *pb.EnrollFamily) (holdfast.Events, error) {
	switch f.status {
	case enrolled:
		return nil, holdfast.Reject("already_enrolled", "the family %s is enrolled since %s", f.familyName, f.enrolledOn)
	case withdrawn:
		return nil, f.gone()
	}
	err := first(
		text("invalid_family_name", "family_name", c.FamilyName),
		text("invalid_parent_name", "parent_name", c.ParentName),
		date("enrollment_date", c.EnrollmentDate),
		between("invalid_children_count", "children_count", c.ChildrenCount, 0, maxChildren),
	)
	if err != nil {
		return nil, err
	}
	return holdfast.Events{&pb.FamilyEnrolled{
		FamilyName: c.FamilyName, ParentName: c.ParentName,
		EnrollmentDate: c.EnrollmentDate, ChildrenCount: c.ChildrenCount,
	}}, nil
}

// addChild of a child that is on the register just so finds nothing to do.
func (f family) addChild(c *pb.AddChild) (holdfast.Events, error) {
	err := first(
		f.belongs(),
		text("invalid_child_name", "child_name", c.ChildName),
		between("invalid_age", "age", c.Age, 1, maxAge),
		text("invalid_grade", "grade", c.Grade),
	)
	if err != nil {
		return nil, err
	}
	added := child{name: c.ChildName, age: c.Age, grade: c.Grade}
	if slices.Contains(f.children, added) {
		return nil, nil
	}
	if slices.ContainsFunc(f.children, func(k child) bool { return k.name == added.name }) {
		return nil, holdfast.Reject("duplicate_child", "a child named %s is on the register already, with another age or grade", c.ChildName)
	}
	if len(f.children) == maxChildren {
		return nil, holdfast.Reject("too_many_children", "the family has %d children on the register; that is the most", maxChildren)
	}
	return holdfast.Events{&pb.ChildAdded{ChildName: c.ChildName, Age: c.Age, Grade: c.Grade}}, nil
}

func (f family) recordPaymentDue(c *pb.RecordPaymentDue) (holdfast.Events, error) {
	if err := first(f.belongs(), amount(c.Amount), date("due_date", c.DueDate)); err != nil {
		return nil, err
	}
	return holdfast.Events{&pb.PaymentFellDue{Amount: c.Amount, DueDate: c.DueDate}}, nil
}

// recordPaymentOverdue holds for a family that has left, too: leaving pays no debts.
func (f family) recordPaymentOverdue(c *pb.RecordPaymentOverdue) (holdfast.Events, error) {
	if err := first(f.known(), amount(c.Amount), date("due_date", c.DueDate)); err != nil {
		return nil, err
	}
	if open := f.outstanding - f.overdue; c.Amount > open {
		return nil, holdfast.Reject("not_due", "%d cannot be overdue: only %d are due and not overdue yet", c.Amount, max(0, open))
	}
	return holdfast.Events{&pb.PaymentBecameOverdue{Amount: c.Amount, DueDate: c.DueDate}}, nil
}

// receivePayment takes the money of a family that has left, too.
func (f family) receivePayment(c *pb.ReceivePayment) (holdfast.Events, error) {
	err := first(
		f.known(),
		amount(c.Amount),
		date("date", c.Date),
		text("invalid_payment_method", "payment_method", c.PaymentMethod),
	)
	if err != nil {
		return nil, err
	}
	return holdfast.Events{&pb2.PaymentReceived{Amount: c.Amount, Date: c.Date, Method: c.PaymentMethod}}, nil
}

func (f family) lockPortal(c *pb.LockPortal) (holdfast.Events, error) {
	if err := f.belongs(); err != nil || f.locked {
		return nil, err
	}
	return holdfast.Events{&pb.PortalLocked{Reason: c.Reason}}, nil
}

func (f family) restorePortal(*pb.RestorePortal) (holdfast.Events, error) {
	if err := f.belongs(); err != nil || !f.locked {
		return nil, err
	}
	if f.overdue > 0 {
		return nil, holdfast.Reject("payment_overdue", "%d are overdue: the portal opens when they are paid", f.overdue)
	}
	return holdfast.Events{&pb.PortalRestored{}}, nil
}

func (f family) withdraw(c *pb.WithdrawFamily) (holdfast.Events, error) {
	if err := first(f.known(), date("withdrawal_date", c.WithdrawalDate)); err != nil {
		return nil, err
	}
	switch {
	case f.status == withdrawn && f.withdrawnOn == c.WithdrawalDate:
		return nil, nil
	case f.status == withdrawn:
		return nil, holdfast.Reject("already_withdrawn", "the family left on %s", f.withdrawnOn)
	case c.WithdrawalDate < f.enrolledOn:
		return nil, holdfast.Reject("invalid_date", "withdrawal_date is %s, before the enrolment on %s", c.WithdrawalDate, f.enrolledOn)
	}
	return holdfast.Events{&pb.FamilyWithdrawn{WithdrawalDate: c.WithdrawalDate}}, nil
}

var eventID = regexp.MustCompile(`^family/[A-Za-z0-9_=-]+@[1-9][0-9]*$`)

// reverseWithdrawal of a withdrawal that was put right before finds nothing to do.
func (f family) reverseWithdrawal(c *pb.ReverseWithdrawal) (holdfast.Events, error) {
	if err := first(f.known(), text("invalid_reason", "reason", c.Reason)); err != nil {
		return nil, err
	}
	switch {
	case !eventID.MatchString(c.OriginalEventId):
		return nil, holdfast.Reject("invalid_event_id", "original_event_id is %q; it must be the id of the withdrawal, as history shows it: family/f-1@7", c.OriginalEventId)
	case f.status == enrolled && f.reversed == c.OriginalEventId:
		return nil, nil
	case f.status == enrolled:
		return nil, holdfast.Reject("not_withdrawn", "the family is enrolled: there is no withdrawal to reverse")
	case f.reversed == c.OriginalEventId:
		return nil, holdfast.Reject("already_reversed", "%s was reversed before; the family left again on %s", f.reversed, f.withdrawnOn)
	}
	return holdfast.Events{&pb.WithdrawalReversed{Reason: c.Reason, OriginalEventId: c.OriginalEventId}}, nil
}

func (f family) updateEngagementScore(c *pb.UpdateEngagementScore) (holdfast.Events, error) {
	err := first(f.belongs(), between("invalid_score", "score", c.Score, 0, maxScore))
	if err != nil || c.Score == f.score {
		return nil, err
	}
	return holdfast.Events{&pb.EngagementScoreUpdated{Score: c.Score}}, nil
}

// known says whether the family was ever enrolled.
func (f family) known() error {
	if f.status == "" {
		return holdfast.Reject("not_enrolled", "the family has not been enrolled")
	}
	return nil
}

// belongs says whether the family is enrolled now.
func (f family) belongs() error {
	if f.status == withdrawn {
		return f.gone()
	}
	return f.known()
}

func (f family) gone() error {
	return holdfast.Reject("withdrawn", "the family left on %s; if that was a mistake, reverse the withdrawal", f.withdrawnOn)
}

// first gives the first error, so that checks read as a list.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func text(reason, field, s string) error {
	if strings.TrimSpace(s) == "" {
		return holdfast.Reject(reason, "%s is empty", field)
	}
	return nil
}

func date(field, s string) error {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return holdfast.Reject("invalid_date", "%s is %q; it must be a day such as 2026-09-01", field, s)
	}
	return nil
}

func between(reason, field string, n, low, high int32) error {
	if n < low || n > high {
		return holdfast.Reject(reason, "%s is %d; it must be %d to %d", field, n, low, high)
	}
	return nil
}

func amount(n int64) error {
	if n <= 0 || n > maxAmount {
		return holdfast.Reject("invalid_amount", "amount is %d; it must be 1 to %d", n, maxAmount)
	}
	return nil
}
