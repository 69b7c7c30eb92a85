package coop

import pb "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"

func (f family) save() *pb.Family {
	p := &pb.Family{
		FamilyName:        f.familyName,
		ParentName:        f.parentName,
		Status:            string(f.status),
		EnrollmentDate:    f.enrolledOn,
		WithdrawalDate:    f.withdrawnOn,
		ReversedEventId:   f.reversed,
		ChildrenCount:     f.count,
		PaymentStatus:     f.paymentStatus(),
		Outstanding:       f.outstanding,
		Overdue:           f.overdue,
		DueDate:           f.dueOn,
		TotalPaid:         f.paid,
		Payments:          f.payments,
		LastPaymentDate:   f.lastPaidOn,
		LastPaymentMethod: f.lastMethod,
		PortalLocked:      f.locked,
		PortalLockReason:  f.lockReason,
		EngagementScore:   f.score,
	}
	for _, k := range f.children {
		p.Children = append(p.Children, &pb.Child{ChildName: k.name, Age: k.age, Grade: k.grade})
	}
	return p
}

func (f family) paymentStatus() string {
	switch {
	case f.overdue > 0:
		return "overdue"
	case f.outstanding > 0:
		return "due"
	default:
		return "paid"
	}
}

func load(p *pb.Family) family {
	f := family{
		familyName:  p.FamilyName,
		parentName:  p.ParentName,
		status:      status(p.Status),
		enrolledOn:  p.EnrollmentDate,
		withdrawnOn: p.WithdrawalDate,
		reversed:    p.ReversedEventId,
		count:       p.ChildrenCount,
		outstanding: p.Outstanding,
		overdue:     p.Overdue,
		dueOn:       p.DueDate,
		paid:        p.TotalPaid,
		payments:    p.Payments,
		lastPaidOn:  p.LastPaymentDate,
		lastMethod:  p.LastPaymentMethod,
		locked:      p.PortalLocked,
		lockReason:  p.PortalLockReason,
		score:       p.EngagementScore,
	}
	for _, k := range p.Children {
		f.children = append(f.children, child{name: k.ChildName, age: k.Age, grade: k.Grade})
	}
	return f
}
