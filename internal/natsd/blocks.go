package natsd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrDamagedBlock is the error of a start with [Config.CheckBlocksOf] on a
// folder with a block that the server would not survive reading.
var ErrDamagedBlock = errors.New("block of stored messages is damaged")

// How a block looks: records one after the other, each a header (size of the
// whole record, sequence, time, size of the subject; little endian), the
// subject, perhaps headers, the message and a checksum of eight bytes.
const (
	recordHeader = 4 + 8 + 8 + 2
	leastRecord  = recordHeader + 8
	largestRec   = 32 << 20 // the server takes no larger one for a record

	sizeHasHeaders = 1 << 31
	seqErased      = 1 << 63
	seqTombstone   = 1 << 62 // of a message elsewhere
)

// compressed is how a compressed block begins.
var compressed = []byte("cmp")

// mostLost is how many messages can be missing between two records of a block:
// more than a block of 8 MiB, the largest there is, has room for.
const mostLost = 1 << 20

// checkBlocks walks through the records of the streams that
// [Config.CheckBlocksOf] picks. The server, when it first reads a block, makes
// an entry for each sequence between two records before it looks at any
// checksum, so a flipped bit in one sequence takes all memory there is.
// Whatever else can be wrong with a block the server bears, and those who read
// the messages find.
func (s *Server) checkBlocks(ctx context.Context) error {
	if s.cfg.CheckBlocksOf == nil {
		return nil
	}
	folders, err := filepath.Glob(filepath.Join(s.cfg.DataDir, server.JetStreamStoreDir, "*", "streams", "*"))
	if err != nil {
		return fmt.Errorf("list folders of streams: %w", err)
	}
	for _, folder := range folders {
		if !s.cfg.CheckBlocksOf(filepath.Base(folder)) {
			continue
		}
		blocks, err := filepath.Glob(filepath.Join(folder, "msgs", "*.blk"))
		if err != nil {
			return fmt.Errorf("list blocks: %w", err)
		}
		for _, block := range blocks {
			if err := context.Cause(ctx); err != nil {
				return fmt.Errorf("check blocks: %w", err)
			}
			if err := s.checkBlock(block); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) checkBlock(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("check block: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 256<<10)
	if start, err := r.Peek(len(compressed)); err == nil && bytes.Equal(start, compressed) {
		s.cfg.Logger.Debug("a compressed block is not checked before the start", "block", path)
		return nil
	}
	j, err := findJump(r)
	if err != nil {
		return fmt.Errorf("check block %s: %w", path, err)
	}
	if j != nil {
		return fmt.Errorf("%w: in %s the record at offset %d has the sequence %d, and the one at offset %d, which comes next, %d;"+
			" to read it would take all memory: restore the folder from a backup", ErrDamagedBlock, path, j.at, j.from, j.next, j.to)
	}
	return nil
}

// A jump is between the sequences of two records, at and next in the block.
type jump struct {
	at, next int64
	from, to uint64
}

// findJump finds the first jump over more than can have been lost. It ends at
// what is no whole record: where a crash has cut the block short, or at other
// damage, where the server ends as well.
func findJump(r *bufio.Reader) (*jump, error) {
	var last uint64 // the highest sequence so far, of the record at lastAt
	var at, lastAt int64
	for {
		header, err := r.Peek(recordHeader)
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		size := binary.LittleEndian.Uint32(header) &^ sizeHasHeaders
		seq := binary.LittleEndian.Uint64(header[4:])
		if size < leastRecord || size > largestRec {
			return nil, nil
		}
		if seq&seqTombstone == 0 {
			seq &^= seqErased
			if last > 0 && seq > last && seq-last > mostLost {
				return &jump{at: lastAt, next: at, from: last, to: seq}, nil
			}
			if seq > last {
				last, lastAt = seq, at
			}
		}
		if _, err := r.Discard(int(size)); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		at += int64(size)
	}
}
