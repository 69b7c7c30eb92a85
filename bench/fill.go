package bench

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// ofBatch messages are as many as a server takes in one.
const ofBatch = 1000

// fill publishes one message to each of the subjects that stand for aggregates.
func (p *plain) fill(nc *nats.Conn, ids []string) error {
	for some := range slices.Chunk(ids, ofBatch) {
		if err := p.publishBatch(nc, some); err != nil {
			return fmt.Errorf("fill the stream beside the log: %w", err)
		}
	}
	return nil
}

// publishBatch publishes to several subjects at once. The server answers the first message of
// a batch with nothing, and the last one for all.
func (p *plain) publishBatch(nc *nats.Conn, ids []string) error {
	batch := nuid.Next()
	for i, id := range ids {
		s, first, last := p.subjectOf(id), i == 0, i == len(ids)-1
		m := p.message(s)
		m.Header.Set("Nats-Batch-Id", batch)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if last {
			m.Header.Set("Nats-Batch-Commit", "1")
		}
		if !first && !last {
			if err := nc.PublishMsg(m); err != nil {
				return err
			}
			continue
		}
		answer, err := nc.RequestMsg(m, patience)
		if err != nil {
			return err
		}
		if !last {
			if len(answer.Data) > 0 {
				return errors.New("the server refuses a batch: " + string(answer.Data))
			}
			continue
		}
		seq, err := sequence(answer)
		if err != nil {
			return err
		}
		for back, id := range slices.Backward(ids) {
			p.subjectOf(id).last = seq - uint64(len(ids)-1-back)
		}
		p.acked.Add(int64(len(ids)))
	}
	return nil
}
