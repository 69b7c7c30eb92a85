package sqlsink

// Symlink has f make links.
func (s *Sink) Symlink(f func(to, name string) error) { s.db.(*files).symlink = f }
