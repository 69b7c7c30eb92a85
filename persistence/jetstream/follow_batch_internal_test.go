package jetstream

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/persistence"
)

// putBatch stores commits as one batch, around the store.
func putBatch(t *testing.T, nc *nats.Conn, id string, n int) {
	t.Helper()
	for i := range n {
		m := &nats.Msg{Subject: "real.log.0.batched." + id + strconv.Itoa(i), Header: nats.Header{headerBatch: {id}, headerSequence: {strconv.Itoa(i + 1)}}}
		if i < n-1 {
			if err := nc.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
			continue
		}
		m.Header[headerCommit] = []string{"1"}
		if _, err := nc.RequestMsg(m, patience); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFollowWaitsForTheDisk: the server shows the commits of a batch before it has fsynced
// them, and answers a question for one of them afterwards.
func TestFollowWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	f, more, _ := followed(t, 1)
	nc := f.store.publish.nc
	questions := make(chan *nats.Msg, 100)
	f.partition.direct = "disk" // whose server has not come so far
	if _, err := nc.ChanSubscribe("disk", questions); err != nil {
		t.Fatal(err)
	}
	f.mustRead(t, 1)
	for round := range uint64(2) {
		last := 1 + round*11
		f.close(t.Context()) // what comes is then known to be the whole batch, and asked for once
		putBatch(t, nc, strconv.FormatUint(round, 10), 10)
		got := make(chan persistence.Record, 1)
		failed := make(chan error, 1)
		go func() {
			rec, err := f.read(t.Context())
			got <- rec
			failed <- err
		}()
		question := asked(t, questions)
		if len(got) > 0 {
			t.Error("a commit is given before the disk is known to have it")
		}
		if err := question.Respond(nil); err != nil {
			t.Fatal(err)
		}
		if rec, err := <-got, <-failed; err != nil || rec.Position.Sequence() != last+1 {
			t.Fatalf("read %s, %v", rec.Position, err)
		}
		for seq := last + 2; seq <= last+10; seq++ {
			f.mustRead(t, seq)
		}
		more(1) // which needs no question
		f.mustRead(t, last+11)
	}
	if n := len(questions); n > 0 {
		t.Errorf("%d questions too many", n)
	}
}

// TestFollowGivesNothingThatTheDiskMayNotHave: without an answer it begins anew at the same
// commit.
func TestFollowGivesNothingThatTheDiskMayNotHave(t *testing.T) {
	t.Parallel()
	f, _, _ := followed(t, 1)
	nc := f.store.publish.nc
	questions := make(chan *nats.Msg, 100)
	f.partition.direct = "disk"
	if _, err := nc.ChanSubscribe("disk", questions); err != nil {
		t.Fatal(err)
	}
	f.mustRead(t, 1)
	f.close(t.Context())
	putBatch(t, nc, "b", 3)
	broken := make(chan struct{})
	go func() {
		<-questions
		f.store.reads.pipes[0].broken()
		close(broken)
		if err := (<-questions).Respond(nil); err != nil {
			t.Error(err)
		}
	}()
	for seq := uint64(2); seq <= 4; seq++ {
		f.mustRead(t, seq)
		select {
		case <-broken:
		default:
			t.Fatal("nothing was asked")
		}
	}
}

// asked gives the next question.
func asked(t *testing.T, questions chan *nats.Msg) *nats.Msg {
	t.Helper()
	select {
	case m := <-questions:
		return m
	case <-time.After(patience):
		t.Fatal("nothing is asked")
		panic("unreachable")
	}
}
