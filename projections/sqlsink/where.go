package sqlsink

// Where tells, for people, where others read what serves of a projection.
func (s *Sink) Where(projection string) string {
	if db, ok := s.db.(*schemas); ok {
		return "PostgreSQL, schema " + db.serving(projection)
	}
	return "SQLite, file " + projection + ".db on each node"
}
