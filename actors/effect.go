package actors

import (
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// An Effect is something that the engine wants done. What comes of it, if anything, is
// told to the engine in a later call.
type Effect interface{ effect() }

type (
	// Reply: give the request its answer.
	Reply struct{ *Request }
	// Pass: ask the aggregate's next activation. The request was certainly not executed.
	Pass struct{ *Request }
	// Load: have To take what the log has, and call Loaded.
	Load struct {
		// Snapshot: one may be used.
		Snapshot bool
		// Ignored is why the one that was read may not, if there was one.
		Ignored error
		// To is the engine's again with Loaded.
		To *Rebuild
	}
	// Append: append to the log, and call Appended.
	Append struct {
		After   persistence.Head
		Changes []*messages.Change
	}
	// Find: look the request's command id up in the log, and call Found.
	Find struct {
		*Request
		// From is the head that the log is known to have: what is read must reach it.
		From persistence.Head
	}
	// Save: keep a snapshot. Nothing comes of it.
	Save struct {
		Head   persistence.Head
		Recent []uint32
		State  proto.Message
	}
	// Stop: this activation has ended, and what is passed on after it goes to the next
	// one.
	Stop struct {
		// Bug is why, when it is one.
		Bug error
	}
)

func (Reply) effect()   {}
func (Pass) effect()    {}
func (Load) effect()    {}
func (*Append) effect() {}
func (Find) effect()    {}
func (*Save) effect()   {}
func (Stop) effect()    {}
