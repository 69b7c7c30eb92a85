package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// maxLine is the longest line that apply reads.
const maxLine = maxData

// A line is one command of a file.
type line struct {
	number int // from 1
	ref    string
	cmd    *command
}

func (l *line) size() int { return len(l.cmd.data) }

// A format says how lines are read.
type format struct {
	encoded bool   // ids are in their encoded form already
	batch   string // goes into derived ids
	user    string // of lines that name none
}

// parse reads a line. What it returns keeps nothing of raw.
func (f format) parse(number int, raw []byte) (*line, error) {
	keys, err := decodeLine(raw)
	if err != nil {
		return nil, err
	}
	if keys.Ref == "" {
		return nil, errors.New(`"ref" is missing: want type/id, as in account/a-1`)
	}
	if keys.Command == "" {
		return nil, errors.New(`"command" is missing`)
	}
	cmd := &command{name: keys.Command, data: keys.Data, expected: keys.Expected, meta: commandMeta{id: keys.ID, user: keys.User}}
	if cmd.typ, cmd.id, err = parseRef(keys.Ref, f.encoded); err != nil {
		return nil, fmt.Errorf(`"ref": %w`, err)
	}
	if len(cmd.data) == 0 {
		cmd.data = []byte("{}")
	}
	if cmd.meta.id == "" {
		cmd.meta.id = f.deriveID(number, raw)
	}
	if cmd.meta.user == "" {
		cmd.meta.user = f.user
	}
	if err := cmd.check(""); err != nil {
		return nil, err
	}
	return &line{number: number, ref: cmd.ref(), cmd: cmd}, nil
}

// deriveID gives a line without an id one that is the same whenever the line is read.
func (f format) deriveID(number int, raw []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%d\n", f.batch, number)
	h.Write(raw)
	return "line-" + strconv.Itoa(number) + "-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// lineKeys are the keys that a line may have.
type lineKeys struct {
	Ref, Command, ID, User string
	Data                   json.RawMessage
	Expected               *uint64
}

// decodeLine reads a line's keys, which must be written exactly and once: a key that is
// overlooked may have been meant as a condition.
func decodeLine(raw []byte) (lineKeys, error) {
	var k lineKeys
	fields := map[string]any{
		"ref": &k.Ref, "command": &k.Command, "id": &k.ID, "user": &k.User, "data": &k.Data, "expectedVersion": &k.Expected,
	}
	if !utf8.Valid(raw) {
		return k, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return k, errNotLine(err)
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return k, errNotLine(err)
		}
		key, _ := t.(string)
		into, ok := fields[key]
		switch {
		case !ok:
			return k, fmt.Errorf("the key %q is unknown: there are ref, command, id, data, user and expectedVersion", key)
		case into == nil:
			return k, fmt.Errorf("the key %q is given twice", key)
		}
		fields[key] = nil
		if err := dec.Decode(into); err != nil {
			return k, explainKey(key, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return k, errNotLine(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return k, errors.New("something follows the JSON object: want one object a line")
	}
	return k, nil
}

func errNotLine(err error) error {
	if _, ok := errors.AsType[*json.SyntaxError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	return errors.New("it is not a JSON object")
}

func explainKey(key string, err error) error {
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok {
		return errNotLine(err)
	}
	want := "a string"
	if key == "expectedVersion" {
		want = "0 or a positive whole number"
	}
	return fmt.Errorf("%q: want %s", key, want)
}

// A lineReader reads lines of any length, but keeps none that is longer than maxLine.
type lineReader struct {
	in     *bufio.Reader
	number int
	buf    []byte
}

func newLineReader(in io.Reader) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, 64<<10)}
}

var byteOrderMark = []byte("\xef\xbb\xbf")

var errLongLine = errors.New("it is longer than 8 MiB, which no server takes")

// next gives the next line without its end and the blanks around it; raw is good until
// the next call. The error is errLongLine, after which it may be called again, or that
// of the reader, io.EOF at the end.
func (r *lineReader) next() (raw []byte, err error) {
	r.buf = r.buf[:0]
	long := false
	for {
		part, err := r.in.ReadSlice('\n')
		if long = long || len(r.buf)+len(part) > maxLine+2; !long { // +2: \r\n
			r.buf = append(r.buf, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && (!errors.Is(err, io.EOF) || len(r.buf) == 0 && !long) {
			return nil, err
		}
		break
	}
	r.number++
	if long {
		return nil, errLongLine
	}
	raw = r.buf
	if r.number == 1 {
		raw = bytes.TrimPrefix(raw, byteOrderMark)
	}
	return bytes.TrimSpace(raw), nil
}

// A survey is what there is to know of a file before its lines are applied.
type survey struct {
	lines int
	sum   string // SHA-256 of the content
}

func surveyFile(ctx context.Context, in io.Reader) (survey, error) {
	h := sha256.New()
	buf := make([]byte, 256<<10)
	var s survey
	ended := true
	for {
		n, err := in.Read(buf)
		h.Write(buf[:n])
		s.lines += bytes.Count(buf[:n], []byte{'\n'})
		if n > 0 {
			ended = buf[n-1] == '\n'
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return s, err
		}
	}
	if !ended {
		s.lines++
	}
	s.sum = hex.EncodeToString(h.Sum(nil))
	return s, nil
}
