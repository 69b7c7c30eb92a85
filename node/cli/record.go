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

// recordFormat is the format of progress files that this build writes and reads.
const recordFormat = 1

// A record is what a progress file says.
type record struct {
	Format int `json:"format"`
	// Context, Encoded and Batch are how the file's lines are meant.
	Context string `json:"context"`
	Encoded bool   `json:"encoded"`
	Batch   string `json:"batch"`
	// Sum is the SHA-256 of the file's content.
	Sum string `json:"sha256"`
	// Settled: all lines up to this one are settled, except in the Stopped aggregates.
	Settled int `json:"settled"`
	// Stopped has for an aggregate the line from which on its lines are not settled,
	// while all before are.
	Stopped map[string]int `json:"stopped,omitempty"`
	// Counts are of the settled lines.
	Counts counts `json:"counts"`
}

// settled reports whether a line need not be sent again.
func (r record) settled(number int, ref string) bool {
	if from, ok := r.Stopped[ref]; ok {
		return number < from
	}
	return number <= r.Settled
}

// settledUpTo is the last line up to which all are settled, in whatever aggregate.
func (r record) settledUpTo() int {
	upTo := r.Settled
	for _, from := range r.Stopped {
		upTo = min(upTo, from-1)
	}
	return upTo
}

func (c counts) plus(d counts) counts {
	c.Accepted += d.Accepted
	c.Duplicates += d.Duplicates
	c.Rejected += d.Rejected
	c.Failed += d.Failed
	c.Malformed += d.Malformed
	return c
}

// A progressFile keeps a record beside a file of commands.
type progressFile struct{ path string }

func progressOf(file string) progressFile { return progressFile{file + ".progress"} }

// load gives what is on record; ok is false when there is no record.
func (p progressFile) load() (r record, ok bool, err error) {
	b, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("read progress: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, false, p.mistrust("it cannot be read: %w", err)
	}
	if r.Format != recordFormat {
		return r, false, p.mistrust("its format %d is unknown to this build, which reads %d", r.Format, recordFormat)
	}
	return r, true, nil
}

// fits says why what is on record is not for the run that begins as begin.
func (p progressFile) fits(r, begin record) error {
	switch {
	case r.Sum != begin.Sum:
		return p.mistrust("the file was changed after an earlier run had begun with it; put the earlier content back to go on")
	case r.Context != begin.Context:
		return p.mistrust("the earlier run was with --context %s; give the same to go on", r.Context)
	case r.Encoded != begin.Encoded:
		return p.mistrust("the earlier run was with --encoded=%t; give the same to go on", r.Encoded)
	case r.Batch != begin.Batch:
		return p.mistrust("the earlier run was with --batch %q; give the same to go on", r.Batch)
	}
	return nil
}

func (p progressFile) mistrust(format string, args ...any) error {
	return fmt.Errorf("progress file %s: %w; or give --restart to begin with the first line,"+
		" which repeats what an aggregate accepted more than its last 1,024 commands ago", p.path, fmt.Errorf(format, args...))
}

// save replaces the record in one step: whatever happens, the old or the new one is
// there. When it returns without an error, the new one is durable.
func (p progressFile) save(r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode progress: %w", err)
	}
	tmp := p.path + ".tmp"
	if err := writeSynced(tmp, append(b, '\n')); err != nil {
		return fmt.Errorf("write progress: %w; put the file where its folder can be written, or pipe it in with '-'", err)
	}
	if err := os.Rename(tmp, p.path); err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	return syncFolder(p.path)
}

// remove removes the record, if there is one.
func (p progressFile) remove() error {
	if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove progress: %w", err)
	}
	return syncFolder(p.path)
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
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
