// Package coop is the larger example: the family of a homeschool co-op. It shows
// decisions with several rules, an event that was retired and is upcast to its
// successor, and a mistake that is put right by a compensating event.
//
// family.go holds the definition, the state and what each event makes of it;
// decisions.go what each command decides; shown.go the form in which the state is shown;
// story.ndjson a story to play.
package coop

import (
	_ "embed"
	"slices"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
	pb2 "github.com/holdfast-run/holdfast/examples/coop/coopv2pb"
)

// Story is a story to play, of the family that paid late, was locked out, paid, was
// withdrawn by mistake and reinstated. Each line is a command in JSON: ref, command,
// id, user, data, and a note that tells the story. Two are rejected, and one is sent
// twice with the same id.
//
//go:embed story.ndjson
var Story string

//go:embed family.golden
var recorded string

// Family is the aggregate type "family". Amounts are whole minor units (cents), dates
// ISO days such as 2026-09-01.
var Family = holdfast.Define("family",
	holdfast.Decide(family.enroll),
	holdfast.Decide(family.addChild),
	holdfast.Decide(family.recordPaymentDue),
	holdfast.Decide(family.recordPaymentOverdue),
	holdfast.Decide(family.receivePayment),
	holdfast.Decide(family.lockPortal),
	holdfast.Decide(family.restorePortal),
	holdfast.Decide(family.withdraw),
	holdfast.Decide(family.reverseWithdrawal),
	holdfast.Decide(family.updateEngagementScore),

	holdfast.Evolve(family.enrolled),
	holdfast.Evolve(family.childAdded),
	holdfast.Evolve(family.paymentFellDue),
	holdfast.Evolve(family.paymentBecameOverdue),
	holdfast.Evolve(family.paymentReceived),
	holdfast.Evolve(family.portalLocked),
	holdfast.Evolve(family.portalRestored),
	holdfast.Evolve(family.withdrawn),
	holdfast.Evolve(family.withdrawalReversed),
	holdfast.Evolve(family.engagementScoreUpdated),

	holdfast.Upcast[family](paymentReceivedV1),
	holdfast.Snapshot(family.save, load),
	holdfast.Recorded[family](recorded),
)

// family is the state. Its status is empty until the family is enrolled.
type family struct {
	status     status
	familyName string
	parentName string
	enrolledOn string
	// withdrawnOn is set while the family is withdrawn.
	withdrawnOn string
	// reversed is the id of the last withdrawal that was put right.
	reversed string
	// count is how many children the family brings: as many as it said, or as are on
	// the register when those are more.
	count    int32
	children []child

	outstanding int64
	overdue     int64
	dueOn       string
	paid        int64
	payments    int32
	lastPaidOn  string
	lastMethod  string

	locked     bool
	lockReason string
	score      int32
}

type status string

const (
	enrolled  status = "enrolled"
	withdrawn status = "withdrawn"
)

type child struct {
	name  string
	age   int32
	grade string
}

func (f family) enrolled(e *pb.FamilyEnrolled) family {
	f.status = enrolled
	f.familyName, f.parentName = e.FamilyName, e.ParentName
	f.enrolledOn, f.count = e.EnrollmentDate, e.ChildrenCount
	return f
}

// childAdded copies the children: two states never share what one of them changes.
func (f family) childAdded(e *pb.ChildAdded) family {
	f.children = append(slices.Clip(f.children), child{name: e.ChildName, age: e.Age, grade: e.Grade})
	f.count = max(f.count, int32(len(f.children)))
	return f
}

func (f family) paymentFellDue(e *pb.PaymentFellDue) family {
	f.outstanding += e.Amount
	f.dueOn = max(f.dueOn, e.DueDate)
	return f
}

func (f family) paymentBecameOverdue(e *pb.PaymentBecameOverdue) family {
	f.overdue += e.Amount
	return f
}

// paymentReceived settles what is overdue first.
func (f family) paymentReceived(e *pb2.PaymentReceived) family {
	f.outstanding -= e.Amount
	f.overdue = max(0, f.overdue-e.Amount)
	if f.outstanding <= 0 {
		f.dueOn = ""
	}
	f.paid += e.Amount
	f.payments++
	f.lastPaidOn, f.lastMethod = e.Date, e.Method
	return f
}

func (f family) portalLocked(e *pb.PortalLocked) family {
	f.locked, f.lockReason = true, e.Reason
	return f
}

func (f family) portalRestored(*pb.PortalRestored) family {
	f.locked, f.lockReason = false, ""
	return f
}

func (f family) withdrawn(e *pb.FamilyWithdrawn) family {
	f.status, f.withdrawnOn = withdrawn, e.WithdrawalDate
	return f
}

func (f family) withdrawalReversed(e *pb.WithdrawalReversed) family {
	f.status, f.withdrawnOn, f.reversed = enrolled, "", e.OriginalEventId
	return f
}

func (f family) engagementScoreUpdated(e *pb.EngagementScoreUpdated) family {
	f.score = e.Score
	return f
}

// paymentReceivedV1 reads payments of the years in which nobody asked for the method.
func paymentReceivedV1(e *pb.PaymentReceived) holdfast.Events {
	return holdfast.Events{&pb2.PaymentReceived{Amount: e.Amount, Date: e.Date, Method: "unknown"}}
}
