package index

// Statement is what is asked of the database.
func Statement(q Query) (query string, args []any, err error) {
	s, err := q.statement()
	if err != nil {
		return "", nil, err
	}
	return s.String(), s.args, nil
}
