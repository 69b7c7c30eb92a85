package bench

// Names of all workloads.
func Names() []string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.name)
	}
	return out
}

// Small is Command, whose workloads have at most so many aggregates and callers.
var Small = command
