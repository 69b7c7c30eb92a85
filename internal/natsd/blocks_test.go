package natsd_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

func isLog(stream string) bool { return stream == logName }

// blocksOf gives the files of the log's blocks, the oldest first.
func blocksOf(t *testing.T, cfg natsd.Config) []string {
	t.Helper()
	pattern := filepath.Join(cfg.DataDir, "jetstream", "CORE", "streams", logName, "msgs", "%d.blk")
	var blocks []string
	for i := 1; ; i++ {
		path := fmt.Sprintf(pattern, i)
		if _, err := os.Stat(path); err != nil {
			return blocks
		}
		blocks = append(blocks, path)
	}
}

// offsets gives where the records of a block begin.
func offsets(t *testing.T, block string) []int {
	t.Helper()
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for at := 0; at < len(b); at += int(binary.LittleEndian.Uint32(b[at:]) &^ (1 << 31)) {
		all = append(all, at)
	}
	return all
}

// flipBit flips one bit of a file, counted from the first byte.
func flipBit(t *testing.T, path string, offset, bit int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[offset+bit/8] ^= 1 << (bit % 8)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fill starts a server, appends messages, and stops it.
func fill(t *testing.T, cfg natsd.Config, n, size int) {
	t.Helper()
	s := start(t, cfg)
	defer s.Stop()
	js := stream(t, connect(t, s, natsd.Node))
	for i := range n {
		subject, id := fmt.Sprintf("%s.log.0.account.a-%d", demo, i), rand.Text()
		if _, err := js.Publish(within(t), subject, make([]byte, size), jetstream.WithMsgID(id)); err != nil {
			t.Fatal(err)
		}
	}
}

// logConfig is that of a server that checks the blocks of the log.
func logConfig(t *testing.T, compression jetstream.StoreCompression) natsd.Config {
	t.Helper()
	cfg := config(t)
	cfg.CheckBlocksOf, cfg.RelaxedSync = isLog, true
	s := start(t, cfg)
	defer s.Stop()
	_, err := stream(t, connect(t, s, natsd.Node)).CreateStream(within(t), jetstream.StreamConfig{
		Name: logName, Subjects: []string{demo + ".log.0.>"}, DenyDelete: true, DenyPurge: true, Compression: compression,
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// What is whole is let pass, and so is what a crash leaves.
func TestHealthyBlocks(t *testing.T) {
	t.Parallel()
	cfg := logConfig(t, jetstream.NoCompression)
	for range 3 {
		fill(t, cfg, 5, 900<<10)
	}
	blocks := blocksOf(t, cfg)
	if len(blocks) < 2 {
		t.Fatalf("there are %d blocks", len(blocks))
	}
	newest := blocks[len(blocks)-1]
	whole, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	for name, rest := range map[string][]byte{
		"half a header": whole[:11], "half a record": whole[:1000], "zeros": make([]byte, 4096), "rubbish": bytes.Repeat([]byte{0xa5}, 100),
	} {
		if err := os.WriteFile(newest, append(bytes.Clone(whole), rest...), 0o600); err != nil {
			t.Fatal(err)
		}
		s := start(t, cfg)
		if n := count(t, connect(t, s, natsd.Node)); n != 15 {
			t.Errorf("after %s there are %d messages", name, n)
		}
		s.Stop()
	}
}

// A flipped bit in a sequence would take all memory when the block is read.
func TestDamagedSequence(t *testing.T) {
	t.Parallel()
	cfg := logConfig(t, jetstream.NoCompression)
	fill(t, cfg, 15, 900<<10)
	fill(t, cfg, 5, 10)
	for _, block := range blocksOf(t, cfg) {
		records := offsets(t, block)
		if len(records) < 3 {
			t.Fatalf("%s has %d records", block, len(records))
		}
		const seq = 4 * 8 // where it stands in a record, in bits
		for _, bit := range []int{21, 40, 61} {
			for _, i := range []int{1, len(records) - 1} {
				flipBit(t, block, records[i], seq+bit)
				err := refused(t, within(t), cfg)
				wantIs(t, err, natsd.ErrDamagedBlock)
				wantText(t, err, block, fmt.Sprintf("offset %d,", records[i]))
				flipBit(t, block, records[i], seq+bit)
			}
		}
	}
	start(t, cfg)
}

// What the server bears is left to it: those who read the messages say more of it.
func TestBearableDamage(t *testing.T) {
	t.Parallel()
	const sizeBit = 3 // of the size, with which the record grows
	for name, bit := range map[string]int{"LowerSequence": 4*8 + 1, "Tombstone": 4*8 + 62, "Erased": 4*8 + 63, "Size": sizeBit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := logConfig(t, jetstream.NoCompression)
			fill(t, cfg, 10, 10)
			block := blocksOf(t, cfg)[0]
			records := offsets(t, block)
			if size := records[7] - records[6]; size&(1<<sizeBit) != 0 {
				t.Fatalf("a record of %d bytes would shrink, and its checksum be taken for a record, which may look like anything", size)
			}
			flipBit(t, block, records[6], bit)
			start(t, cfg)
		})
	}
}

// Compressed blocks cannot be walked through, which is said.
func TestCompressedBlocks(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg := logConfig(t, jetstream.S2Compression)
	fill(t, cfg, 15, 900<<10)
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	start(t, cfg).Stop()
	if path := blocksOf(t, cfg)[0]; !strings.Contains(log.String(), "not checked") || !strings.Contains(log.String(), path) {
		t.Errorf("it does not say that %s is not checked", path)
	}
}
