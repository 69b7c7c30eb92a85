package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

var errNoStream = errors.New("no stream takes the message: it has no leader, or is not there")

// parseAck reads the answer to a publish: the sequence, or an *apiError, errNoStream, or
// an error that says nothing about what became of the message.
func (p *partition) parseAck(m *nats.Msg) (uint64, error) {
	if seq, ok := p.parsePlainAck(m.Data); ok {
		return seq, nil
	}
	a, err := p.parseFullAck(m)
	return a.Seq, err
}

// An ack is what the server says of what it has stored: of a batch, where its last message is.
type ack struct {
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
	Batch  string `json:"batch"`
	Count  uint64 `json:"count"`
}

// parseFullAck is parseAck for whatever a server sends.
func (p *partition) parseFullAck(m *nats.Msg) (ack, error) {
	if len(m.Data) == 0 {
		if status := m.Header.Get("Status"); status == "503" {
			return ack{}, errNoStream
		}
		return ack{}, errOdd
	}
	var r struct {
		ack
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return ack{}, fmt.Errorf("%w: %w", errOdd, err)
	}
	switch {
	case r.Error != nil:
		return ack{}, r.Error
	case r.Stream != p.stream || r.Seq == 0:
		return ack{}, fmt.Errorf("%w: stream %q took it at %d", errOdd, r.Stream, r.Seq)
	}
	return r.ack, nil
}

// parsePlainAck reads {"stream":"<ours>","seq":<n>}, which is all that a healthy server
// sends.
func (p *partition) parsePlainAck(data []byte) (uint64, bool) {
	if len(data) < len(p.ack) || string(data[:len(p.ack)]) != p.ack {
		return 0, false
	}
	digits := data[len(p.ack):]
	if len(digits) < 2 || len(digits) > 20 || digits[len(digits)-1] != '}' {
		return 0, false
	}
	var seq uint64
	for _, d := range digits[:len(digits)-1] {
		if d < '0' || d > '9' {
			return 0, false
		}
		seq = 10*seq + uint64(d-'0')
	}
	return seq, seq > 0
}
