package desk_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/polltest"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas/desk"
)

// send has a saga decide, a second later.
func (w *world) send(ref string, c holdfast.Command, user string) {
	w.t.Helper()
	w.pass(time.Second)
	to, err := holdfast.ParseRef(ref)
	w.must(err)
	w.must(w.sent(to, c, holdfast.Meta{ID: w.newID(), At: w.now(), User: user}))
}

// sent has a saga decide, however often that takes on a machine that is busy.
func (w *world) sent(to holdfast.Ref, c holdfast.Command, m holdfast.Meta) error {
	for ctx := within(w.t); ; <-time.After(5 * time.Millisecond) {
		_, err := w.member.Send(ctx, to, c, holdfast.WithMeta(m))
		if err == nil || !errors.Is(err, holdfast.ErrUnavailable) && !errors.Is(err, holdfast.ErrUncertain) || ctx.Err() != nil {
			return err
		}
	}
}

func (w *world) state(ref string) *messages.SagaState {
	w.t.Helper()
	of, err := holdfast.ParseRef(ref)
	w.must(err)
	var view holdfast.View
	eventually(w.t, func() error {
		view, err = w.member.View(within(w.t), of)
		if err != nil && !errors.Is(err, holdfast.ErrUnavailable) {
			w.t.Fatal(err)
		}
		return err
	})
	return view.State.(*messages.SagaState)
}

// start starts a desk, whose requests a test may give less time than a machine that is busy
// needs for that.
func (w *world) start(c desk.Config) (d *desk.Desk) {
	w.t.Helper()
	eventually(w.t, func() (err error) {
		if d, err = desk.Start(c); err != nil && !errors.Is(err, nats.ErrTimeout) {
			w.t.Fatal(err)
		}
		return err
	})
	return d
}

// dial connects a client, which a server that is busy may break off.
func (w *world) dial(opts ...nats.Option) (nc *nats.Conn) {
	w.t.Helper()
	eventually(w.t, func() (err error) {
		nc, err = nats.Connect(w.server.ClientURL(), append(opts, nats.Timeout(patient))...)
		return err
	})
	w.t.Cleanup(nc.Close)
	return nc
}

// eventually polls until try gives no error.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	polltest.Until(t, patient, try)
}
