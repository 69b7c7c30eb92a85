package node

import "github.com/holdfast-run/holdfast/sagas/runner"

// Adapt has a node run its sagas with what f makes of it.
func (c Config) Adapt(f func(*runner.Config)) Config {
	c.adapt = f
	return c
}
