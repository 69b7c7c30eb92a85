package gateway

// WithPending has each subscription hold at most n messages.
func (c Config) WithPending(n int) Config {
	c.pending = n
	return c
}
