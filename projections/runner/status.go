package runner

import (
	"time"
)

// A State is what a unit, a generation or a projection is doing.
type State string

// The states, in the order in which a whole shows that of its parts: the last one first.
const (
	// Live: it has all that the log has, but for moments.
	Live State = "live"
	// CatchingUp: it is behind, and goes on.
	CatchingUp State = "catching up"
	// Rebuilding: it does not serve yet, and is behind.
	Rebuilding State = "rebuilding"
	// Paused: an operator has said so.
	Paused State = "paused"
	// Blocked: it cannot go on for now, and tries again.
	Blocked State = "blocked"
	// Stopped: it does not go on until somebody does something.
	Stopped State = "stopped"
)

var severity = map[State]int{Live: 0, CatchingUp: 1, Rebuilding: 2, Paused: 3, Blocked: 4, Stopped: 5}

// A UnitStatus says how a unit stands, as the node says that works on it.
type UnitStatus struct {
	Generation uint64 `json:"generation"`
	Partition  uint32 `json:"partition"`
	Shard      int    `json:"shard"`
	Node       string `json:"node"`

	State State `json:"state"`
	// Reason why it does not go on, Event at which, by its id, and Since when. Of a live one
	// they are empty.
	Reason string    `json:"reason,omitempty"`
	Event  string    `json:"event,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	// Position up to which all is done, and Behind how many commits of the log come after it.
	Position string `json:"position"`
	Behind   uint64 `json:"behind"`
	// Rate is how many commits a second it does, and Left how many seconds it takes to be
	// live at that rate; 0 when that cannot be said.
	Rate float64 `json:"rate"`
	Left float64 `json:"left,omitempty"`
	// Parked are the keys with events that are parked, and Outbox says why what is in the
	// outbox is not carried.
	Parked int    `json:"parked"`
	Outbox string `json:"outbox,omitempty"`
	// Orders is the number of the last order that has been carried out here.
	Orders uint64 `json:"orders,omitempty"`
	// Silent says that the node has not been heard of for so long that it cannot be said how
	// the unit stands now.
	Silent bool `json:"silent,omitempty"`
}

// A GenerationStatus sums up the units of a generation.
type GenerationStatus struct {
	Generation uint64 `json:"generation"`
	// Role is serving, building or previous.
	Role     string `json:"role"`
	Revision int    `json:"revision"`

	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"`
	Event  string `json:"event,omitempty"`
	// Positions up to which all is done, one a partition.
	Positions []string     `json:"positions,omitempty"`
	Behind    uint64       `json:"behind"`
	Rate      float64      `json:"rate"`
	Left      float64      `json:"left,omitempty"`
	Parked    int          `json:"parked"`
	Units     []UnitStatus `json:"units,omitempty"`
}

// A Status says how a projection stands: its state is that of the generation that serves.
type Status struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Reason and Event are those of the serving generation.
	Reason string `json:"reason,omitempty"`
	Event  string `json:"event,omitempty"`
	// Form and Shown say what kind it is in this build, and whether a query is answered.
	Form        string             `json:"form,omitempty"`
	Shown       bool               `json:"shown,omitempty"`
	InKV        bool               `json:"inKV,omitempty"`
	Record      Record             `json:"record"`
	Generations []GenerationStatus `json:"generations"`
}
