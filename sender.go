package holdfast

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
)

// A Receipt says what a command did. What it tells is durable.
type Receipt struct {
	// Version of the aggregate after the command.
	Version Version
	// Position of the commit that holds the command's events; of the aggregate's
	// last commit when the command recorded nothing.
	Position Position
	// Events are the full names of the recorded events, in order; empty when
	// nothing needed to happen.
	Events []string
	// Duplicate: the command's id had been recorded before, and this is the answer
	// that was given then.
	Duplicate bool
}

// A Sender sends commands to aggregates, wherever they live.
type Sender interface {
	// Send has the aggregate decide on the command and returns when what it decided
	// is durable. Send takes ownership of c: do not change it afterwards.
	//
	// It returns a *[Rejection] when the domain says no, otherwise an *[Error]:
	// ErrConflict (an expected version does not hold), ErrMalformed, ErrUnknown,
	// ErrTooLarge, ErrOverloaded and ErrUnavailable (certainly not executed),
	// ErrUncertain (it may have been executed: also when ctx ends first; send again
	// with the same id), ErrCorrupt, ErrInternal.
	Send(ctx context.Context, to Ref, c Command, opts ...SendOption) (Receipt, error)
}

// A View is the durable state of an aggregate at one version.
type View struct {
	Ref      Ref
	Version  Version
	Position Position
	// Time of the last event in the view.
	Time time.Time
	// State is the state in the form of its snapshot message.
	State proto.Message
}

// A Viewer shows aggregates.
type Viewer interface {
	// View returns the durable state of the aggregate as it is now. The caller owns
	// the view. It returns ErrUnknown when nothing has happened to the aggregate, or
	// when its type has no [Snapshot] and so nothing to show; ErrMalformed for an id that
	// cannot be; ErrUnavailable, ErrOverloaded, ErrCorrupt or ErrInternal otherwise.
	View(ctx context.Context, of Ref) (View, error)
}

// A Delivery is what stands on a command's envelope: its meta, and the version at
// which the aggregate must be. Options fill it.
type Delivery struct {
	Meta Meta
	// Expected is nil when any version will do. 0 means that nothing may have
	// happened yet.
	Expected *Version
	// Once, if not zero, is since when the command may have been sent before, under the
	// same id: see [Once].
	Once time.Time
}

// A SendOption writes on a command's envelope.
type SendOption func(*Delivery)

// NewDelivery applies the options in order.
func NewDelivery(opts ...SendOption) Delivery {
	if len(opts) == 0 {
		return Delivery{} // d below is on the heap
	}
	var d Delivery
	for _, opt := range opts {
		opt(&d)
	}
	return d
}

// WithMeta replaces the whole meta. What it leaves empty, the runtime fills in.
func WithMeta(m Meta) SendOption { return func(d *Delivery) { d.Meta = m } }

// WithID gives the command an id, which makes sending it again safe.
func WithID(id string) SendOption { return func(d *Delivery) { d.Meta.ID = id } }

// WithUser says on whose behalf the command is sent.
func WithUser(user string) SendOption { return func(d *Delivery) { d.Meta.User = user } }

// Once has the command take effect once, however many others the aggregate has decided on
// since it was sent first, which was not before since. Without it, an id is known among the
// last 1,024 of its aggregate, and not known when its command recorded no event. What it
// costs is that a command which finds nothing to do is recorded, too.
//
// It needs the id, and a meta whose At is not before since.
func Once(since time.Time) SendOption { return func(d *Delivery) { d.Once = since } }

// ExpectVersion has the command fail with ErrConflict unless the aggregate is at v.
func ExpectVersion(v Version) SendOption { return func(d *Delivery) { d.Expected = &v } }
