package coop

import (
	pb "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
	pb2 "github.com/holdfast-run/holdfast/examples/coop/coopv2pb"
	"github.com/holdfast-run/holdfast/projections"
)

// Overdue has the families, with what each owes; those with something overdue are to be called.
// Payments of all years are among its events: the retired ones come in their newest form.
var Overdue = projections.Define("overdue",
	projections.From(Family),
	projections.Tables(
		`CREATE TABLE overdue (
			family      TEXT PRIMARY KEY,
			name        TEXT NOT NULL,
			parent      TEXT NOT NULL,
			outstanding BIGINT NOT NULL,
			overdue     BIGINT NOT NULL,
			due         TEXT NOT NULL
		)`,
	),
	projections.On(func(r *projections.Rows, e *pb.FamilyEnrolled, at projections.Event) error {
		_, err := r.Exec(`INSERT INTO overdue (family, name, parent, outstanding, overdue, due) VALUES ($1, $2, $3, 0, 0, '')`, at.Ref.ID, e.FamilyName, e.ParentName)
		return err
	}),
	projections.On(func(r *projections.Rows, e *pb.PaymentFellDue, at projections.Event) error {
		_, err := r.Exec(`UPDATE overdue SET outstanding = outstanding + $2 WHERE family = $1`, at.Ref.ID, e.Amount)
		return err
	}),
	projections.On(func(r *projections.Rows, e *pb.PaymentBecameOverdue, at projections.Event) error {
		_, err := r.Exec(`UPDATE overdue SET overdue = overdue + $2, due = $3 WHERE family = $1`, at.Ref.ID, e.Amount, e.DueDate)
		return err
	}),
	projections.On(func(r *projections.Rows, e *pb2.PaymentReceived, at projections.Event) error {
		_, err := r.Exec(`UPDATE overdue SET outstanding = outstanding - $2,
			due = CASE WHEN overdue > $2 THEN due ELSE '' END,
			overdue = CASE WHEN overdue > $2 THEN overdue - $2 ELSE 0 END
			WHERE family = $1`, at.Ref.ID, e.Amount)
		return err
	}),
	projections.Show(showOverdue),
)

// A Debt is what a family owes, in minor units.
type Debt struct {
	Family      string `json:"family"`
	Name        string `json:"name"`
	Parent      string `json:"parent"`
	Outstanding int64  `json:"outstanding"`
	Overdue     int64  `json:"overdue"`
	Due         string `json:"due,omitempty"`
}

// showOverdue shows a family; or, asked for "all", those with something overdue, the most
// first.
func showOverdue(r *projections.Rows, key string) (any, error) {
	var d Debt
	const columns = `SELECT family, name, parent, outstanding, overdue, due FROM overdue `
	into := []any{&d.Family, &d.Name, &d.Parent, &d.Outstanding, &d.Overdue, &d.Due}
	if key != "all" {
		found, err := r.Get(columns+`WHERE family = $1`, []any{key}, into...)
		if err != nil || !found {
			return nil, err
		}
		return d, nil
	}
	debts := []Debt{}
	err := r.Each(columns+`WHERE overdue > 0 ORDER BY overdue DESC, family LIMIT 100`, nil, func() error {
		debts = append(debts, d)
		return nil
	}, into...)
	return debts, err
}

// Classmates relates families to each other: those with children in the same grade.
var Classmates = projections.Define("classmates",
	projections.From(Family),
	projections.Tables(
		`CREATE TABLE families (family TEXT PRIMARY KEY, name TEXT NOT NULL, here BIGINT NOT NULL)`,
		`CREATE TABLE children (family TEXT NOT NULL, child TEXT NOT NULL, grade TEXT NOT NULL, PRIMARY KEY (family, child))`,
		`CREATE INDEX children_by_grade ON children (grade)`,
	),
	projections.On(func(r *projections.Rows, e *pb.FamilyEnrolled, at projections.Event) error {
		_, err := r.Exec(`INSERT INTO families (family, name, here) VALUES ($1, $2, 1)`, at.Ref.ID, e.FamilyName)
		return err
	}),
	projections.On(func(r *projections.Rows, e *pb.ChildAdded, at projections.Event) error {
		_, err := r.Exec(`INSERT INTO children (family, child, grade) VALUES ($1, $2, $3)`, at.Ref.ID, e.ChildName, e.Grade)
		return err
	}),
	projections.On(func(r *projections.Rows, _ *pb.FamilyWithdrawn, at projections.Event) error { return here(r, at, 0) }),
	projections.On(func(r *projections.Rows, _ *pb.WithdrawalReversed, at projections.Event) error { return here(r, at, 1) }),
	projections.Show(showClassmates),
)

// A Classmate is a child of another family in the same grade.
type Classmate struct {
	Grade  string `json:"grade"`
	Family string `json:"family"`
	Name   string `json:"name"`
	Child  string `json:"child"`
}

func here(r *projections.Rows, at projections.Event, yes int) error {
	_, err := r.Exec(`UPDATE families SET here = $2 WHERE family = $1`, at.Ref.ID, yes)
	return err
}

func showClassmates(r *projections.Rows, family string) (any, error) {
	var c Classmate
	found := []Classmate{}
	err := r.Each(`SELECT o.grade, o.family, f.name, o.child FROM children o JOIN families f ON f.family = o.family
		WHERE f.here = 1 AND o.family <> $1 AND o.grade IN (SELECT grade FROM children WHERE family = $1)
		ORDER BY o.grade, o.family, o.child LIMIT 1000`, []any{family}, func() error {
		found = append(found, c)
		return nil
	}, &c.Grade, &c.Family, &c.Name, &c.Child)
	return found, err
}
