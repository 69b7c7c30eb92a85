package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	// pageRoom is what a page takes beside its events.
	pageRoom = 512
	// tagRoom is what an event takes in a page beside its own bytes: a comma in JSON, a
	// tag and a length in protobuf.
	tagRoom = 8
)

// historyPage is the JSON form of messages.HistoryReply.
type historyPage struct {
	Ref    string            `json:"ref"`
	Events []json.RawMessage `json:"events"`
	Next   uint64            `json:"next"`
}

// historyEvent is the JSON form of messages.HistoryEvent.
type historyEvent struct {
	Version       uint64          `json:"version"`
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	Time          string          `json:"time"`
	User          string          `json:"user"`
	Command       string          `json:"command"`
	CommandID     string          `json:"commandId"`
	CorrelationID string          `json:"correlationId"`
	CausationID   string          `json:"causationId"`
	Trace         string          `json:"trace,omitempty"`
	Data          json.RawMessage `json:"data"`                // null when it cannot be shown
	Undecoded     []byte          `json:"undecoded,omitempty"` // the recorded bytes then
	KeyID         string          `json:"keyId,omitempty"`     // with which those are encrypted
}

// history shows events as they were recorded.
func (g *Gateway) history(ctx context.Context, r *request) (serve.Answer, error) {
	from, limit, err := wanted(r)
	if err != nil {
		return serve.Answer{}, err
	}
	leave, err := g.enterLog(ctx)
	if err != nil {
		return serve.Answer{}, err
	}
	defer leave()
	commits, next, err := persistence.Page(ctx, g.cfg.Reader, r.ref, from, limit, g.requests.Room())
	if err == nil && len(commits) == 0 {
		err = r.nothing()
	}
	if err != nil {
		return serve.Answer{}, serve.Unread(ctx, err)
	}
	return g.page(r, commits, from, next)
}

// wanted reads which page is.
func wanted(r *request) (from, limit uint64, err error) {
	var m messages.HistoryRequest
	if !serve.Blank(r.Body) || r.header.Protobuf {
		if err := serve.Decode(r.Body, &m, r.header.Protobuf); err != nil {
			return 0, 0, err
		}
	}
	if m.Limit > maxLimit {
		return 0, 0, holdfast.Errorf(holdfast.CodeMalformed, "body: limit: %d is too many, ask for %d at most and go on from next", m.Limit, maxLimit)
	}
	from, limit = max(m.From, 1), uint64(m.Limit)
	if limit == 0 {
		limit = defaultLimit
	}
	return from, limit, nil
}

// page puts the events from a version up to next into an answer; what does not fit is
// for the next page.
func (g *Gateway) page(r *request, commits []persistence.Commit, from, next uint64) (serve.Answer, error) {
	reply := &messages.HistoryReply{Ref: r.name(), Next: next}
	shown := historyPage{Ref: reply.Ref, Events: []json.RawMessage{}}
	size, room := 0, g.requests.Room()-pageRoom
	err := persistence.EachEvent(commits, func(_ persistence.Commit, version uint64, ch *messages.Change, e *messages.Event) (bool, error) {
		if version < from {
			return true, nil
		}
		if next != 0 && version >= next {
			return false, nil
		}
		event := record(r, version, ch, e)
		size += tagRoom
		if r.header.Protobuf {
			size += proto.Size(event)
			reply.Events = append(reply.Events, event)
		} else {
			text, err := showRecord(r.def, event, e)
			if err != nil {
				return false, err
			}
			size += len(text)
			shown.Events = append(shown.Events, text)
		}
		if size <= room {
			return true, nil
		}
		if version == from {
			return false, holdfast.Errorf(holdfast.CodeTooLarge, "the event of version %d takes %d bytes, an answer has room for %d: go on from %d", version, size, room, version+1)
		}
		reply.Next = version
		if r.header.Protobuf {
			reply.Events = reply.Events[:len(reply.Events)-1]
		} else {
			shown.Events = shown.Events[:len(shown.Events)-1]
		}
		return false, nil
	})
	if err != nil {
		return serve.Answer{}, err
	}
	shown.Next = reply.Next
	body, err := serve.Encode(r.header.Protobuf, reply, shown)
	return serve.Answer{Body: body}, err
}

func record(r *request, version uint64, ch *messages.Change, e *messages.Event) *messages.HistoryEvent {
	return &messages.HistoryEvent{
		Version:       version,
		Id:            fmt.Sprintf("%s@%d", r.name(), version),
		Type:          e.Type,
		Time:          ch.Time,
		User:          ch.User,
		Command:       ch.Command,
		CommandId:     ch.CommandId,
		CorrelationId: ch.CorrelationId,
		CausationId:   ch.CausationId,
		Trace:         ch.Trace,
		Data:          e.Data,
		KeyId:         e.KeyId,
	}
}

func showRecord(def holdfast.Definition, h *messages.HistoryEvent, e *messages.Event) (json.RawMessage, error) {
	out := historyEvent{
		Version: h.Version, ID: h.Id, Type: h.Type, Time: serve.ShowTime(time.Unix(0, h.Time)), User: h.User,
		Command: h.Command, CommandID: h.CommandId, CorrelationID: h.CorrelationId, CausationID: h.CausationId,
		Trace: h.Trace, KeyID: h.KeyId,
	}
	event, err := persistence.DecodeEvent(def, e)
	if err == nil {
		out.Data, err = serve.Show(event)
	}
	if err != nil { // the history is there to look at what others cannot read
		out.Undecoded = h.Data
	}
	return serve.Encode(false, nil, out)
}
