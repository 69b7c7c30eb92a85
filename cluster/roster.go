package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// ErrNoMembers is the error of [ReadRoster] when no node has ever registered.
var ErrNoMembers = errors.New("there are no nodes")

// Info is what a member says of itself, for operators.
type Info struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Address string   `json:"address"`
	Version string   `json:"version,omitempty"`
	State   string   `json:"state"`
	Types   []string `json:"types"`
	// Joined is when it became a member: since its start, or since it was last cut off.
	Joined time.Time `json:"joined"`
	// Active is how many aggregates are active on it, Rate how many requests a second
	// they answer.
	Active int     `json:"active"`
	Rate   float64 `json:"rate"`
	// Renewed is when it gave its last sign of life; for Lease after that it is taken for
	// alive.
	Renewed time.Time     `json:"renewed"`
	Lease   time.Duration `json:"lease"`

	run string
}

// A Roster is who was there when it was read.
type Roster struct {
	bucket  *bucket
	view    *view
	renewed map[string]time.Time
}

// ReadRoster reads the register of a context, without becoming a member.
func ReadRoster(ctx context.Context, nc *nats.Conn, c messages.Context) (*Roster, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("read register: %w", err)
	}
	b := &bucket{nc: nc, js: js, name: c.MembersBucket()}
	if b.kv, err = js.KeyValue(ctx, b.name); errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, ErrNoMembers
	} else if err != nil {
		return nil, fmt.Errorf("read register: %w", err)
	}
	reg, ro := newRegister(nil), &Roster{bucket: b, renewed: map[string]time.Time{}}
	reading, enough := context.WithCancel(ctx)
	defer enough()
	err = b.watch(reading, func(all []change) {
		for _, c := range all {
			ro.renewed[c.id] = c.written
		}
		reg.replace(all, time.Time{})
		enough()
	}, func(change) {})
	if reading.Err() == nil || ctx.Err() != nil {
		return nil, err
	}
	members, _ := reg.members(time.Time{})
	ro.view = newView("", reg.revision, members)
	return ro, nil
}

// Members gives who is there, in the order of their ids.
func (ro *Roster) Members() []Info {
	var all []Info
	for i := range ro.view.members {
		all = append(all, ro.info(&ro.view.members[i]))
	}
	return all
}

func (ro *Roster) info(m *member) Info {
	return Info{
		ID: m.ID, Name: m.Name, Address: m.Address, Version: m.Version, State: m.State, Types: m.Types,
		Joined: m.Joined, Active: m.Active, Rate: m.Rate, Renewed: ro.renewed[m.ID], Lease: m.Lease, run: m.Run,
	}
}

// Owner is the member that owns the aggregate; ok is false when none does.
func (ro *Roster) Owner(of holdfast.Ref) (owner Info, ok bool) {
	m := ro.view.owner(of)
	if m == nil {
		return Info{}, false
	}
	return ro.info(m), true
}

// Ask asks the node that is this member to hand over what it owns and to stop, whichever
// member it may have become. It returns when that has been written down, not when it has
// been done.
func (ro *Roster) Ask(ctx context.Context, member Info) error { return ro.bucket.ask(ctx, member.run) }

// AwaitGone returns when the node that is this member is not there any more, or with ctx's
// error.
func (ro *Roster) AwaitGone(ctx context.Context, member Info) error {
	watching, gone := context.WithCancel(ctx)
	defer gone()
	there := map[string]bool{}
	hear := func(c change) {
		switch {
		case c.record == nil:
			delete(there, c.id)
		case c.record.Run == member.run:
			there[c.id] = true
		}
	}
	err := ro.bucket.watch(watching, func(all []change) {
		for _, c := range all {
			hear(c)
		}
		if len(there) == 0 {
			gone()
		}
	}, func(c change) {
		if hear(c); len(there) == 0 {
			gone()
		}
	})
	if ctx.Err() == nil && watching.Err() != nil {
		return nil
	}
	return err
}
