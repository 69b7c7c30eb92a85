package holdfast

import (
	"time"

	"google.golang.org/protobuf/proto"
)

// A Command is an intent, named in the imperative: PlaceOrder.
type Command = proto.Message

// An Event is a fact, named in the past tense: OrderPlaced. It never changes.
type Event = proto.Message

// Events are what one decision records: all of them or none. nil means that nothing
// needs to happen.
type Events []Event

// Meta is what stands beside a message and never inside it.
type Meta struct {
	// ID is the command's id. A second command with an id that its aggregate has
	// recorded within its last 1,024 commands is answered as the first was.
	ID string
	// CorrelationID names the story to which the command belongs; the command's own
	// id when nobody said otherwise.
	CorrelationID string
	// CausationID names the message that caused this one, if any.
	CausationID string
	// User is on whose behalf the command was sent, as the sender says.
	User string
	// Trace is the W3C traceparent of the request, if any.
	Trace string
	// At is when the command reached the runtime. Within an aggregate it never runs
	// backwards, whatever the clocks of the nodes do.
	At time.Time
	// To is the aggregate that decides. The runtime fills it in.
	To Ref
}
