package bench

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/messages"
)

// A reader reads messages of the log with as little as possible around them, their headers left
// out: somebody who knows already where they are. It reads one thing at a time.
type reader struct {
	nc    *nats.Conn
	inbox string
	sub   *nats.Subscription
}

const (
	direct = "$JS.API.DIRECT.GET."
	// bare has a server leave the headers out, which cost more than all the rest.
	bare = `"no_hdr":true`
)

// newReader makes one on a connection of its own, with which it ends.
func newReader(nc *nats.Conn) (*reader, error) {
	r := &reader{nc: nc, inbox: nc.NewInbox()}
	var err error
	if r.sub, err = nc.SubscribeSync(r.inbox); err != nil {
		return nil, err
	}
	return r, r.sub.SetPendingLimits(-1, -1)
}

// bySequence asks for all messages at once, each by its sequence, and for the newest snapshot,
// if there is one.
func (r *reader) bySequence(sequences []uint64, id string, snapshot bool) error {
	want := len(sequences)
	if snapshot {
		want++
		if err := r.nc.PublishRequest(direct+contextName.SnapshotStream()+"."+subjectOf(messages.KindSnapshot, id), r.inbox, []byte("{"+bare+"}")); err != nil {
			return err
		}
	}
	for _, seq := range sequences {
		if err := r.nc.PublishRequest(direct+contextName.LogStream(0), r.inbox, fmt.Appendf(nil, `{"seq":%d,%s}`, seq, bare)); err != nil {
			return err
		}
	}
	return r.take(want, "")
}

// endOfBatch is the status of the message after the last one.
const endOfBatch = "204"

// bySubject asks for all messages of an account in one batch.
func (r *reader) bySubject(sequences []uint64, id string, _ bool) error {
	request := fmt.Appendf(nil, `{"next_by_subj":%q,"seq":%d,"batch":%d,%s}`, subjectOf(messages.KindLog, id), sequences[0], len(sequences), bare)
	if err := r.nc.PublishRequest(direct+contextName.LogStream(0), r.inbox, request); err != nil {
		return err
	}
	if err := r.take(len(sequences), ""); err != nil {
		return err
	}
	return r.take(1, endOfBatch)
}

// take awaits so many messages of that status.
func (r *reader) take(want int, status string) error {
	for range want {
		m, err := r.sub.NextMsg(patience)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if got := m.Header.Get("Status"); got != status {
			return fmt.Errorf("read the log: the server answers %q %s, want %q", got, m.Header.Get("Description"), status)
		}
	}
	return nil
}

// subjectOf is where something of an account stands.
func subjectOf(kind messages.Kind, id string) string {
	encoded, err := messages.EncodeID(id)
	if err != nil {
		return "" // not of an id that is made here
	}
	return messages.Subject{Context: contextName, Kind: kind, Type: "account", ID: encoded}.String()
}
