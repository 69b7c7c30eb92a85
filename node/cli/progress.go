package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// progressFormat is the format of progress files that this build writes and reads.
const progressFormat = 1

// A header is the first line of a progress file. It says of which run the outcomes are
// that follow: one byte for each line of the file of commands, an [outcome].
type header struct {
	Format int `json:"format"`
	// Encoded and Batch are how the file's lines are meant.
	Encoded bool   `json:"encoded"`
	Batch   string `json:"batch"`
	// Sum is the SHA-256 of the file's content.
	Sum string `json:"sha256"`
}

// outcomes are those of the lines of a file, the first line's first.
type outcomes []byte

func noOutcomes(lines int) outcomes { return bytes.Repeat([]byte{byte(pending)}, lines) }

// of gives the outcome of a line; pending when there is none.
func (o outcomes) of(number int) outcome {
	if number > len(o) {
		return pending
	}
	return outcome(o[number-1])
}

// settledUpTo is the last line up to which all are settled.
func (o outcomes) settledUpTo() int {
	if i := bytes.IndexByte(o, byte(pending)); i >= 0 {
		return i
	}
	return len(o)
}

func (o outcomes) counts() (c counts) {
	for _, b := range o {
		c.add(outcome(b))
	}
	return c
}

// A progress is the progress file of a file of commands for one log.
type progress struct {
	path string
	file *os.File // once it is open
	base int64    // where the outcomes begin
}

// load gives the outcomes on record for a file that has so many lines; ok is false when
// nothing is on record. The error says why what is on record is not for a run with want.
func (p *progress) load(want header, lines int) (o outcomes, ok bool, err error) {
	b, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read progress: %w", err)
	}
	head, o, _ := bytes.Cut(b, []byte{'\n'})
	var h header
	if err := json.Unmarshal(head, &h); err != nil {
		return nil, false, p.mistrust("it cannot be read: %w", err)
	}
	if err := p.fits(h, want); err != nil {
		return nil, false, err
	}
	if len(o) != lines {
		return nil, false, p.mistrust("it has the outcomes of %d lines, and the file has %d", len(o), lines)
	}
	if i := bytes.IndexFunc(o, unknownOutcome); i >= 0 {
		return nil, false, p.mistrust("the outcome of line %d is unknown to this build", i+1)
	}
	return o, true, nil
}

func unknownOutcome(r rune) bool {
	return r != rune(pending) && r != rune(blank) && r != rune(accepted) && r != rune(duplicate) &&
		r != rune(rejected) && r != rune(failed) && r != rune(malformed)
}

// fits says why the outcomes under h are not for a run with want.
func (p *progress) fits(h, want header) error {
	const same = "; give the same to go on"
	switch {
	case h.Format != want.Format:
		return p.mistrust("its format %d is unknown to this build, which reads %d", h.Format, want.Format)
	case h.Sum != want.Sum:
		return p.mistrust("the file was changed after an earlier run had begun with it; put the earlier content back to go on")
	case h.Encoded != want.Encoded:
		return p.mistrust("the earlier run was with --encoded=%t"+same, h.Encoded)
	case h.Batch != want.Batch:
		return p.mistrust("the earlier run was with --batch %q"+same, h.Batch)
	}
	return nil
}

func (p *progress) mistrust(format string, args ...any) error {
	return fmt.Errorf("progress file %s: %w; or give --restart to begin anew with the first line: lines may then take effect again"+
		" if their ids have been forgotten, as an aggregate does after its last 1,024 commands", p.path, fmt.Errorf(format, args...))
}

// open puts a header and outcomes on record in one step: whatever happens, the file is
// there as it was or as it is to be. What was on record and perhaps not yet durable is
// durable when it returns without an error. Close it in the end.
func (p *progress) open(h header, o outcomes) error {
	head, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode progress: %w", err)
	}
	head = append(head, '\n')
	p.base = int64(len(head))
	tmp := p.path + ".tmp"
	if p.file, err = os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err == nil {
		_, err = p.file.Write(append(head, o...))
		err = errors.Join(err, p.file.Sync())
	}
	if err != nil {
		return fmt.Errorf("write progress: %w; put the file where its folder can be written, or pipe it in with '-'", err)
	}
	if err := os.Rename(tmp, p.path); err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	return syncFolder(p.path)
}

// mark puts the outcome of a line on record. It outlives this process, but the machine
// only after a sync that began later. A single byte is never torn.
func (p *progress) mark(number int, o outcome) error {
	if _, err := p.file.WriteAt([]byte{byte(o)}, p.base+int64(number)-1); err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	return nil
}

// sync makes what was marked before durable. It may be called while mark is.
func (p *progress) sync() error {
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("sync progress: %w", err)
	}
	return nil
}

// close gives up the file; what was not synced by then nobody relies on.
func (p *progress) close() {
	if p.file != nil {
		_ = p.file.Close()
	}
}

func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// lockFile makes sure that one run at a time works on a file. Closing f, or the end of
// the process, gives it up.
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("%s: another run is applying it: wait until that has ended", f.Name())
		case err != nil:
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return nil
	}
}
