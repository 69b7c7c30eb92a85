package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

const heroine = "family/f-lovelace"

// trail shows who did what when.
func (d *demo) trail(ctx context.Context) error {
	d.title("The audit trail of " + heroine)
	events, err := d.client.history(ctx, heroine)
	if err != nil {
		return err
	}
	for _, e := range events {
		d.say("  %2d  %s  %-10s %-24s ← %s %s", e.Version, e.Time.Format("15:04:05.000"), e.User, short(e.Type), short(e.Command), e.CommandID)
	}
	return nil
}

// past shows the state now, and as it was when the mistake had just been made.
func (d *demo) past(ctx context.Context) error {
	d.title("The state now, and as it was")
	events, err := d.client.history(ctx, heroine)
	if err != nil {
		return err
	}
	mistake := uint64(0)
	for _, e := range events {
		if short(e.Type) == "FamilyWithdrawn" {
			mistake = e.Version
		}
	}
	for _, at := range []uint64{mistake, 0} {
		v, err := d.client.get(ctx, heroine, at)
		if err != nil {
			return err
		}
		label := "now"
		if at != 0 {
			label = fmt.Sprintf("as of version %d", at)
		}
		d.say("  %-16s status %v, portal locked: %v, paid %v, engagement %v", label, v["status"], v["portal_locked"], v["total_paid"], v["engagement_score"])
	}
	return nil
}

// fifty withdraws fifty families by mistake, with something happening in the middle of it,
// and puts every one of them right.
func (d *demo) fifty(ctx context.Context) error {
	const families = 50
	d.title("Fifty families, withdrawn by mistake and put right")
	ref := func(i int) string { return fmt.Sprintf("family/f-%02d", i+1) }
	command := func(name, user string, data func(i int) string) func(int) line {
		return func(i int) line {
			return line{Ref: ref(i), Command: name, ID: fmt.Sprintf("%s-%02d", strings.ToLower(name), i+1), User: user, Data: []byte(data(i))}
		}
	}
	enrol := command("EnrollFamily", "registrar", func(i int) string {
		return fmt.Sprintf(`{"family_name":"Family %d","enrollment_date":"2026-09-01","parent_name":"Parent %d","children_count":%d}`, i+1, i+1, 1+i%3)
	})
	withdraw := command("WithdrawFamily", "import", func(int) string { return `{"withdrawal_date":"2026-10-31"}` })
	reverse := command("ReverseWithdrawal", "registrar", func(i int) string {
		return fmt.Sprintf(`{"reason":"the import read the wrong column","original_event_id":"%s@2"}`, ref(i))
	})
	if err := d.all(ctx, families, enrol, nil); err != nil {
		return err
	}
	d.say("  %d enrolled", families)
	var happened string
	if err := d.all(ctx, families, withdraw, func() (err error) {
		happened, err = d.stage.meanwhile(ctx)
		return err
	}); err != nil {
		return err
	}
	d.say("  %d withdrawn by an import that read the wrong column; %s", families, happened)
	if err := d.all(ctx, families, reverse, nil); err != nil {
		return err
	}
	d.say("  %d put right by an event that names the mistaken one", families)
	for i := range families {
		v, err := d.client.get(ctx, ref(i), 0)
		if err != nil {
			return err
		}
		events, err := d.client.history(ctx, ref(i))
		if err != nil {
			return err
		}
		if v["status"] != "enrolled" || len(events) != 3 {
			return fmt.Errorf("%s is %v with %d events: it should be enrolled, with three", ref(i), v["status"], len(events))
		}
	}
	d.say("  counted: all %d are enrolled, each with its three events and not one more", families)
	return nil
}

// all sends a command to each of n families at the same time. In the middle, once a
// third has been answered, it does what it is told to.
func (d *demo) all(ctx context.Context, n int, command func(int) line, middle func() error) error {
	var answered atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, n+1)
	third := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			if _, err := d.client.send(ctx, command(i)); err != nil {
				errs <- err
			}
			if answered.Add(1) == int64(n/3) {
				close(third)
			}
		})
	}
	if middle != nil {
		<-third
		errs <- middle()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func short(full string) string { return full[strings.LastIndexByte(full, '.')+1:] }
