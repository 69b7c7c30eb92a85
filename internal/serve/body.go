package serve

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-run/holdfast"
)

// A Member reads what a body has under a name.
type Member struct {
	name string
	read func(json.RawMessage) error
}

// Raw reads a member that is any JSON.
func Raw(name string, to *json.RawMessage) Member {
	return Member{name, func(value json.RawMessage) error {
		*to = value
		return nil
	}}
}

// ReadBody reads a JSON object of which no member is unknown or there twice; a dropped one
// would be a dropped intent. An empty body is an empty object. The error is ErrMalformed and
// names the member.
func ReadBody(body []byte, members ...Member) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return holdfast.Errorf(holdfast.CodeMalformed, "body: it is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	seen := map[string]bool{}
	err := eachMember(dec, func(name string, value json.RawMessage) error {
		if seen[name] {
			return fmt.Errorf("%s: it is there twice", name)
		}
		seen[name] = true
		for _, m := range members {
			if m.name == name {
				if err := m.read(value); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				return nil
			}
		}
		return fmt.Errorf("%s: it is unknown: there are %s", name, cmp.Or(names(members), "none"))
	})
	if err != nil {
		return holdfast.Errorf(holdfast.CodeMalformed, "body: %w", err)
	}
	return nil
}

func names(members []Member) string {
	var out []string
	for _, m := range members {
		out = append(out, m.name)
	}
	return strings.Join(out, ", ")
}

var errNoObject = errors.New("want one JSON object")

func eachMember(dec *json.Decoder, f func(name string, value json.RawMessage) error) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errNoObject
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", errNoObject, err)
		}
		name, _ := t.(string) // the decoder lets nothing else pass
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("%s: it is no JSON: %w", name, err)
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return errNoObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w, and nothing behind it", errNoObject)
	}
	return nil
}

// Into reads a member into a value, and says what is wanted if it is another.
func Into[T any](name, want string, to *T) Member {
	return Member{name, func(value json.RawMessage) error {
		if json.Unmarshal(value, to) != nil {
			return errors.New("want " + want)
		}
		return nil
	}}
}

// Text reads a member that is a string.
func Text(name string, to *string) Member { return Into(name, "a string", to) }

// AtMost reads a number from 1 to most; 0 leaves the default.
func AtMost(name string, most uint64, to *uint64) Member {
	return Member{name, func(value json.RawMessage) error {
		var n uint64
		if json.Unmarshal(value, &n) != nil || n > most {
			return fmt.Errorf("want a whole number, %d at most", most)
		}
		if n > 0 {
			*to = n
		}
		return nil
	}}
}

// Duration reads a member such as 5m.
func Duration(name string, to *time.Duration) Member {
	return Member{name, func(value json.RawMessage) (err error) {
		var s string
		if json.Unmarshal(value, &s) == nil {
			*to, err = time.ParseDuration(s)
		}
		if err != nil || *to < 0 || s == "" {
			return errors.New("want a time such as 5m or 1h30m")
		}
		return nil
	}}
}
