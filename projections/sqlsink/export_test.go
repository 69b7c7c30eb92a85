package sqlsink

import "errors"

// WithoutLinks is a system that has none.
func (s *Sink) WithoutLinks() {
	s.db.(*files).symlink = func(string, string) error { return errors.ErrUnsupported }
}
