package door_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/door"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

// without starts a door on a server without JetStream, whose part the test plays on inside.
func without(t *testing.T) (inside, outside *nats.Conn, d *door.Door) {
	t.Helper()
	o := &server.Options{}
	err := o.ProcessConfigString(`
		accounts {
		  PUBLIC { users: [{user: inside, password: x}], exports: [{service: "_DOOR.>"}] }
		  EDGE { users: [{user: outside, password: x}], imports: [{service: {account: PUBLIC, subject: "_DOOR.>"}}] }
		}`)
	if err != nil {
		t.Fatal(err)
	}
	o.DontListen, o.NoSigs = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	as := func(user string) *nats.Conn {
		nc, err := natsd.Dial("", nats.InProcessServer(s), nats.UserInfo(user, "x"), nats.Timeout(patient))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	d, err = door.Start(door.Config{Context: demo, Conn: as("inside"), Prefix: "_DOOR", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Stop(t.Context()) }) // once more, perhaps, with what it said then
	return as("inside"), as("outside"), d
}

const plain = `{"stream_name":"DEMO_FEED","config":{}}`

// TestCrowd: a crowd of clients is let in by and by, and nobody is forgotten.
func TestCrowd(t *testing.T) {
	t.Parallel()
	inside, outside, _ := without(t)
	asked := make(chan *nats.Msg, 2*door.MaxInFlight)
	if _, err := inside.ChanSubscribe("$JS.API.CONSUMER.CREATE.>", asked); err != nil {
		t.Fatal(err)
	}
	answers := make(chan *nats.Msg, 2*door.MaxInFlight)
	if _, err := outside.ChanSubscribe("_INBOX.crowd.*", answers); err != nil {
		t.Fatal(err)
	}
	if err := inside.Flush(); err != nil {
		t.Fatal(err)
	}
	const crowd = door.MaxInFlight + 50
	for i := range crowd {
		if err := outside.PublishRequest("_DOOR.CREATE.DEMO_FEED", fmt.Sprint("_INBOX.crowd.", i), []byte(plain)); err != nil {
			t.Fatal(err)
		}
	}
	// A refusal goes by the same door, and comes to it after the others.
	if err := outside.PublishRequest("_DOOR.CREATE.DEMO_FEED", "_INBOX.crowd.last", nil); err != nil {
		t.Fatal(err)
	}
	if err := outside.Flush(); err != nil {
		t.Fatal(err)
	}
	var waiting []*nats.Msg
	for range door.MaxInFlight {
		waiting = append(waiting, receive(t, asked))
	}
	for i := range crowd {
		if i >= len(waiting) {
			waiting = append(waiting, receive(t, asked))
		}
		if err := waiting[i].Respond([]byte("made")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range crowd + 1 {
		if m := receive(t, answers); strings.HasSuffix(m.Subject, ".last") && i < crowd-door.MaxInFlight {
			t.Errorf("the last one is heard when %d have left", i)
		}
	}
}

// TestNoJetStream: around elections the client hears that it should ask again.
func TestNoJetStream(t *testing.T) {
	t.Parallel()
	_, outside, _ := without(t)
	m, err := outside.RequestWithContext(within(t), "_DOOR.CREATE.DEMO_FEED", []byte(plain))
	if err != nil || !strings.Contains(string(m.Data), `"code":503,"err_code":10008`) {
		t.Errorf("it hears %s, %v", m.Data, err)
	}
}

// TestStopAnswersWhatCame: who has asked before is answered, unless there is no time.
func TestStopAnswersWhatCame(t *testing.T) {
	t.Parallel()
	for _, patient := range []bool{true, false} {
		inside, outside, d := without(t)
		asked := make(chan *nats.Msg, 1)
		if _, err := inside.ChanSubscribe("$JS.API.CONSUMER.CREATE.>", asked); err != nil {
			t.Fatal(err)
		}
		if err := inside.Flush(); err != nil {
			t.Fatal(err)
		}
		answered := make(chan string, 1)
		go func() {
			m, err := outside.RequestWithContext(within(t), "_DOOR.CREATE.DEMO_FEED", []byte(plain))
			if err != nil {
				t.Error(err)
				m = &nats.Msg{}
			}
			answered <- string(m.Data)
		}()
		request := receive(t, asked)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- d.Stop(ctx) }()
		if patient {
			if err := request.Respond([]byte("made")); err != nil {
				t.Fatal(err)
			}
		} else {
			cancel()
		}
		if got := receive(t, answered); patient != (got == "made") {
			t.Errorf("patient %v: the client hears %s", patient, got)
		}
		if err := receive(t, stopped); patient && err != nil {
			t.Error(err)
		}
		cancel()
	}
}
