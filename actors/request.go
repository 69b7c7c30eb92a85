package actors

import (
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// A Request is what an aggregate is asked: to decide on a command, or to show its state.
// The host owns it until it is answered.
type Request struct {
	Ref     holdfast.Ref
	Command holdfast.Command // nil asks for the state
	holdfast.Delivery

	// Done hears the answer, exactly once, on a goroutine that it must not block.
	Done func(Answer)

	answer Answer
	print  uint32 // of the command id
	// checked: the log was searched for the id when this many ids had been recorded.
	checked uint64
	// tried counts the appends that this request was part of and that came to nothing.
	tried int
	// doubts counts those among them that may yet be recorded.
	doubts int
	// passed counts how often a stopping aggregate passed the request on.
	passed int
}

// An Answer is what a request gets: a receipt or a view, or the error.
type Answer struct {
	Receipt holdfast.Receipt
	View    holdfast.View
	Err     error
}

func (r *Request) query() bool { return r.Command == nil }

// once reports whether the command's id is recorded even when it finds nothing to do.
func (r *Request) once() bool { return !r.Once.IsZero() || r.void() }

// void reports whether the request is to use up its command id and nothing else.
func (r *Request) void() bool {
	_, void := r.Command.(*messages.Void)
	return void
}

// is reports whether the command has that full name.
func (r *Request) is(name string) bool { return string(proto.MessageName(r.Command)) == name }

// prepare readies a request that came from outside.
func (r *Request) prepare() { r.print = messages.IDFingerprint(r.Meta.ID) }
