package sqlsink_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

// victim is the variable in which a process that is to be killed finds its place.
const victim = "HOLDFAST_TEST_VICTIM"

var (
	killedRows      = rows("rows", projections.Tables(`CREATE TABLE events (n BIGINT PRIMARY KEY)`))
	killedDocuments = documents("documents")
)

// beKilled commits, from where it stands, until it is killed. It says so each time.
func beKilled() {
	if err := commitForever(); err != nil {
		fmt.Println(err)
	}
	os.Exit(1)
}

func commitForever() error {
	var c sqlsink.Config
	if err := json.Unmarshal([]byte(os.Getenv(victim)), &c); err != nil {
		return err
	}
	s, err := sqlsink.Open(c)
	if err != nil {
		return err
	}
	ctx := context.Background()
	for {
		for _, p := range []*projections.Projection{killedRows, killedDocuments} {
			err := commitOnce(ctx, s, p)
			for errors.Is(err, projections.ErrFenced) { // the database had not ended yet what the last one had begun
				err = commitOnce(ctx, s, p)
			}
			if err != nil {
				return err
			}
		}
		fmt.Println("committed")
	}
}

func commitOnce(ctx context.Context, s *sqlsink.Sink, p *projections.Projection) error {
	u := projections.Unit{Projection: p.Name(), Generation: 1}
	if err := s.Prepare(ctx, p, 1); err != nil {
		return err
	}
	from, err := s.Checkpoint(ctx, u)
	if err != nil {
		return err
	}
	to := from
	to.Done += 5
	return s.Commit(ctx, u, from, to, func(b projections.Batch) error { return killedBatch(b, p, from.Done, to.Done) })
}

func killedBatch(b projections.Batch, p *projections.Projection, from, to uint64) error {
	for n := from + 1; n <= to; n++ {
		var err error
		if p == killedRows {
			_, err = b.Exec(`INSERT INTO events VALUES ($1)`, []any{int64(n)})
		} else {
			err = b.Change("count", projections.Place{Sequence: n}, func(old []byte) ([]byte, error) {
				had, _ := strconv.Atoi(string(old))
				return strconv.AppendInt(nil, int64(had+1), 10), nil
			})
		}
		if err != nil {
			return err
		}
	}
	parked := projections.Parked{Key: "k", Reason: "x"}
	parked.Event.Position = position(to)
	if err := b.Park(parked); err != nil {
		return err
	}
	return b.Later(projections.Effected{ID: fmt.Sprint(to), Name: "x"})
}

// TestKilled: whenever the process dies, rows, documents, what is parked and the outbox are
// those of the checkpoint.
func TestKilled(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		dice := rand.New(rand.NewPCG(1, 2))
		var last int
		for range 8 {
			kill(t, c, 1+dice.IntN(20))
			for p, effect := range map[*projections.Projection]string{
				killedRows: `(SELECT count(*) FROM events)`, killedDocuments: `(SELECT body FROM holdfast_documents)`,
			} {
				var done, had, parked, outbox int
				err := raw(t, c, p.Name(), 1).QueryRow(`SELECT done, `+effect+`, (SELECT count(*) FROM holdfast_parked),
					(SELECT count(*) FROM holdfast_outbox) FROM holdfast_checkpoints`).Scan(&done, &had, &parked, &outbox)
				if err != nil {
					t.Fatal(err)
				}
				if had != done || parked != done/5 || outbox != done/5 {
					t.Fatalf("%s: the checkpoint is at %d, with %d events, %d parked, %d in the outbox", p.Name(), done, had, parked, outbox)
				}
				last = done
			}
		}
		if last < 8*5 {
			t.Errorf("it has come to %d only", last)
		}
	})
}

// kill starts a process, and kills it some time after so many commits.
func kill(t *testing.T, c sqlsink.Config, commits int) {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victim+"="+string(config))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range commits {
		if !lines.Scan() || lines.Text() != "committed" {
			t.Errorf("it says %q", lines.Text())
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
}
