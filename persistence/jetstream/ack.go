package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

var errNoStream = errors.New("no stream takes the message: it has no leader, or is not there")

// parseAck reads the answer to a publish: the sequence, or an *apiError, errNoStream, or
// an error that says nothing about what became of the message.
func (p *partition) parseAck(m *nats.Msg) (uint64, error) {
	if seq, ok := p.parsePlainAck(m.Data); ok {
		return seq, nil
	}
	if len(m.Data) == 0 {
		if status := m.Header.Get("Status"); status == "503" {
			return 0, errNoStream
		}
		return 0, errOdd
	}
	var r struct {
		Error  *apiError `json:"error"`
		Stream string    `json:"stream"`
		Seq    uint64    `json:"seq"`
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return 0, fmt.Errorf("%w: %w", errOdd, err)
	}
	switch {
	case r.Error != nil:
		return 0, r.Error
	case r.Stream != p.stream || r.Seq == 0:
		return 0, fmt.Errorf("%w: stream %q took it at %d", errOdd, r.Stream, r.Seq)
	}
	return r.Seq, nil
}

// parsePlainAck reads {"stream":"<ours>","seq":<n>}, which is all that a healthy server
// sends.
func (p *partition) parsePlainAck(data []byte) (uint64, bool) {
	digits, ok := strings.CutPrefix(string(data), p.ack)
	if !ok || len(digits) < 2 || len(digits) > 20 || digits[len(digits)-1] != '}' {
		return 0, false
	}
	var seq uint64
	for _, d := range []byte(digits[:len(digits)-1]) {
		if d < '0' || d > '9' {
			return 0, false
		}
		seq = 10*seq + uint64(d-'0')
	}
	return seq, seq > 0
}
