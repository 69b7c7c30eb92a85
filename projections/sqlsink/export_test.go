package sqlsink

// Symlink has f make links.
func (s *Sink) Symlink(f func(to, name string) error) { s.db.(*files).symlink = f }

// PostgresBroken is how errors of the database are told from those of a statement.
var PostgresBroken = postgresBroken
