package natsd_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// A folder is of one member, or of a server that is alone, as soon as it holds anything.
func TestFolderOfAnother(t *testing.T) {
	t.Parallel()
	alone := config(t)
	s := start(t, alone)
	makeLog(t, connect(t, s, natsd.Node), 1)
	appendTo(t, connect(t, s, natsd.Node), 1)
	s.Stop()
	asMember := alone
	asMember.Name, asMember.Cluster = "n1", pairOf(t)
	err := refused(t, within(t), asMember)
	wantIs(t, err, natsd.ErrWrongFolder)
	wantText(t, err, logName, "was alone")
	start(t, alone).Stop()

	servers := startCluster(t, 3)
	makeLog(t, connect(t, servers[0], natsd.Node), 3)
	appendTo(t, connect(t, servers[0], natsd.Node), 3)
	js := stream(t, connect(t, servers[0], natsd.Node))
	eventually(t, "every server has it", func() error { return lag(t, js) })
	member := servers[0].Config()
	servers[0].Stop()
	for _, change := range []func(*natsd.Config){
		func(c *natsd.Config) { c.Name = "other" },
		func(c *natsd.Config) { other := *c.Cluster; other.Name = "other"; c.Cluster = &other },
		func(c *natsd.Config) { c.Cluster = nil },
	} {
		wrong := member
		change(&wrong)
		err := refused(t, within(t), wrong)
		wantIs(t, err, natsd.ErrWrongFolder)
		wantText(t, err, `member "holdfast-1" of the cluster "holdfast"`)
	}
	looked := member // for damage, which can be done without the cluster
	looked.Cluster, looked.CheckBlocksOf = nil, isLog
	wantIs(t, refused(t, within(t), looked), natsd.ErrWrongFolder)
	block := blocksOf(t, member)[0]
	const seq = 4 * 8 // where it stands in a record, in bits
	second := offsets(t, block)[1]
	flipBit(t, block, second, seq+61)
	wantIs(t, refused(t, within(t), looked), natsd.ErrDamagedBlock)
	flipBit(t, block, second, seq+61)
	start(t, member)
}

func TestDamagedPlace(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	if err := os.WriteFile(filepath.Join(cfg.DataDir, "member.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantText(t, refused(t, within(t), cfg), "member.json is damaged")
}

// A member tells the others that are connected before it waits for more.
func TestJoiningTellsWhoIsThere(t *testing.T) {
	t.Parallel()
	routes := freeAddresses(t, 3)
	told := make(chan func() []string, 2)
	results := make(chan error, 2)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	for i, name := range []string{"one", "two"} {
		cfg := config(t)
		cfg.Name = name
		cfg.Cluster = &natsd.Cluster{Name: "c", Listen: routes[i], Routes: routes, Joining: func(connected func() []string) { told <- connected }}
		go func() {
			s, err := natsd.Start(ctx, cfg)
			if err == nil {
				defer s.Stop()
				<-ctx.Done()
			}
			results <- err
		}()
	}
	seen := map[string]bool{}
	for range 2 {
		connected := receive(t, told, "word of a start")
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for len(connected()) == 0 {
			receive(t, tick.C, "tick")
		}
		seen[connected()[0]] = true
	}
	if !seen["one"] || !seen["two"] {
		t.Errorf("they have seen %v", seen)
	}
	cancel()
	for range 2 {
		_ = receive(t, results, "end of a start") // whether it came that far does not matter
	}
}
