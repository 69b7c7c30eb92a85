package cluster

import "time"

// A record is what a member writes of itself into the register, as JSON. Fields that a
// member does not know it ignores: nodes of two releases share a register.
type record struct {
	// ID names the member, and no other ever: one that has left comes back as another.
	ID string `json:"id"`
	// Run names the process, which becomes another member when it has lost its lease.
	Run string `json:"run"`
	// Name is what operators call the node; it stays the same.
	Name string `json:"name"`
	// Address is the host:port at which the others reach it.
	Address string `json:"address"`
	// Version is that of the node's release.
	Version string `json:"version,omitempty"`
	// Types that it hosts; empty means all.
	Types []string `json:"types,omitempty"`
	// State is stateUp or stateDraining.
	State string `json:"state"`
	// Joined is when it became a member.
	Joined time.Time `json:"joined"`
	// Lease is how long the record is good for after it was written.
	Lease time.Duration `json:"lease"`

	// Since is the revision from which State and Types are what they are; 0 stands for
	// that of this very record.
	Since uint64 `json:"since,omitempty"`
	// Settled is the revision up to which the member has seen the register, and released
	// what it did not own there, except for what is in Holding.
	Settled uint64 `json:"settled"`
	// Holding are the aggregates that it does not own and has not released yet.
	Holding []string `json:"holding,omitempty"`

	// Active is how many aggregates are active on it, and Rate how many requests a second
	// they answered lately.
	Active int     `json:"active"`
	Rate   float64 `json:"rate"`
}

const (
	stateUp = "up"
	// stateDraining is a member that owns nothing and releases what it holds, so that it
	// can leave without anybody waiting.
	stateDraining = "draining"
)
