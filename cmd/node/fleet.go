package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// A fleet is several nodes, each a process, whose servers form a cluster.
type fleet struct {
	*demo
	nodes    []*process
	patience time.Duration // how long they may take until they serve
	cluster  string        // all of them, as the flag names them
	killed   *process      // in the middle of the story
}

func newFleet(d *demo, folder string, n int) *fleet {
	f := &fleet{demo: d, patience: time.Minute}
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		f.nodes = append(f.nodes, &process{name: name, folder: filepath.Join(folder, name)})
	}
	return f
}

func (f *fleet) begin(ctx context.Context) error {
	f.title(fmt.Sprintf("%d nodes, each a process with a folder of its own", len(f.nodes)))
	addresses, err := natsd.FreeAddresses(len(f.nodes))
	if err != nil {
		return err
	}
	var members, started []string
	for i, p := range f.nodes {
		members = append(members, p.name+"="+addresses[i])
	}
	f.cluster = strings.Join(members, ",")
	for _, p := range f.nodes {
		if err := p.start(ctx, f.cluster); err != nil {
			return err
		}
		started = append(started, fmt.Sprintf("%s (process %d)", p.name, p.cmd.Process.Pid))
	}
	f.say("Started: %s.", strings.Join(started, ", "))
	f.say("Waiting until their NATS servers have found one another and agreed on who leads: 1 to 10 seconds.")
	urls, err := f.await(ctx, f.nodes...)
	if err != nil {
		return err
	}
	f.say("The log is kept three times: a command is answered when a majority has fsynced it.")
	if err := f.client.connect(strings.Join(urls, ",")); err != nil {
		return err
	}
	if err := f.show(ctx, "members"); err != nil {
		return err
	}
	return f.show(ctx, "where", heroine)
}

// await returns the URLs of nodes when they serve, and says how long each took.
func (f *fleet) await(ctx context.Context, nodes ...*process) (urls []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	type result struct {
		p   *process
		url string
		err error
	}
	results, begin := make(chan result, len(nodes)), time.Now()
	for _, p := range nodes {
		go func() {
			url, err := p.await(ctx)
			results <- result{p, url, err}
		}()
	}
	for range nodes {
		r := <-results
		if r.err != nil {
			return nil, r.err
		}
		f.say("  %s serves at %s, after %s", r.p.name, r.url, seconds(time.Since(begin)))
		urls = append(urls, r.url)
	}
	return urls, nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// anyone is a node that runs.
func (f *fleet) anyone() (*process, error) {
	i := slices.IndexFunc(f.nodes, (*process).running)
	if i < 0 {
		return nil, errors.New("no node runs any more")
	}
	return f.nodes[i], nil
}

func (f *fleet) show(ctx context.Context, args ...string) error {
	p, err := f.anyone()
	if err != nil {
		return err
	}
	f.say("$ node %s --data %s", strings.Join(args, " "), p.name)
	return f.verb(ctx, f.out, p.folder, args...)
}

// owner is the node that owns an aggregate, as an operator sees it.
func (f *fleet) owner(ctx context.Context, ref string) (*process, error) {
	p, err := f.anyone()
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	if err := f.verb(ctx, &out, p.folder, "where", ref, "--json"); err != nil {
		return nil, err
	}
	var where struct{ Node struct{ Name string } }
	if err := json.Unmarshal([]byte(out.String()), &where); err != nil {
		return nil, fmt.Errorf("read where %s is: %w", ref, err)
	}
	i := slices.IndexFunc(f.nodes, func(p *process) bool { return p.name == where.Node.Name })
	if i < 0 {
		return nil, fmt.Errorf("%s is owned by %q, which is none of the nodes", ref, where.Node.Name)
	}
	return f.nodes[i], nil
}

func (f *fleet) strike(ctx context.Context, ref string) (err error) {
	if f.killed, err = f.owner(ctx, ref); err != nil {
		return err
	}
	f.killed.kill()
	f.say("")
	f.say("    ⚡ %s, which owns %s, is killed (SIGKILL), and its NATS server with it.", f.killed.name, ref)
	f.say("")
	return nil
}

func (f *fleet) recovered(ctx context.Context, ref string, after time.Duration) error {
	owner, err := anotherOwner(ctx, f.killed, func(ctx context.Context) (*process, error) { return f.owner(ctx, ref) })
	if err != nil {
		return fmt.Errorf("await the new owner of %s: %w", ref, err)
	}
	f.say("")
	f.say("    ↳ Answered %s after it was first sent, by %s, which owns the family now. Who hears nothing", seconds(after), owner.name)
	f.say("      sends again, with the same command id, and nothing happens twice.")
	f.say("")
	return nil
}

// anotherOwner is the one that has followed the killed one. An operator sees that when the
// record of the killed one has gone, which may be a moment after the others know, and when
// the servers have a leader again, if that was the killed one.
func anotherOwner(ctx context.Context, killed *process, look func(context.Context) (*process, error)) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, retryFor)
	defer cancel()
	again := time.NewTicker(retryEvery)
	defer again.Stop()
	for {
		owner, err := look(ctx)
		if err == nil && owner != killed {
			return owner, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		}
	}
}

// meanwhile has the node that was killed come back.
func (f *fleet) meanwhile(ctx context.Context) (says string, err error) {
	back := f.killed
	f.say("  %s is started again", back.name)
	if err := back.start(ctx, f.cluster); err != nil {
		return "", err
	}
	if _, err := f.await(ctx, back); err != nil {
		return "", err
	}
	return back.name + " came back\n  in the middle, and has taken over again what it owns", nil
}

// verify has the log checked while the nodes run, and then has them stop in order.
func (f *fleet) verify(ctx context.Context) error {
	f.title("The log, verified while the nodes run")
	if err := f.show(ctx, "verify"); err != nil {
		return err
	}
	f.title("The nodes, stopped in order")
	f.client.close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	begin, errs := time.Now(), make(chan error)
	for _, p := range f.nodes {
		go func() { errs <- p.terminate(ctx) }()
	}
	var all error
	for range f.nodes {
		all = errors.Join(all, <-errs)
	}
	if all == nil {
		f.say("All %d got SIGTERM, answered what was on its way, and had ended after %s.", len(f.nodes), seconds(time.Since(begin)))
	}
	return all
}

func (f *fleet) end(context.Context) error {
	f.client.close()
	for _, p := range f.nodes {
		p.kill()
	}
	return nil
}
