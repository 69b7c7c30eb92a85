package tests

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// What a client asked of an account, and what it heard. An account serves as three
// things at once for three sets of clients, each on accounts of its own.
type asked struct {
	what   string // deposit, withdraw, get, add, read
	amount int64
	expect int64 // version; -1 is any
	id     string
}

type heard struct {
	no      bool // rejected, or a conflict
	balance int64
	version int64
	ids     string // sorted, with spaces between
	unknown bool   // it took effect, as the log says, and nobody heard of it
}

// bankModel is a balance that is never below nothing.
var bankModel = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		balance, in, out := state.(int64), input.(asked), output.(heard)
		switch in.what {
		case "deposit":
			return true, balance + in.amount
		case "withdraw":
			if out.no {
				return balance < in.amount, balance
			}
			return balance >= in.amount, balance - in.amount
		}
		return out.balance == balance, balance
	},
	DescribeOperation: describe,
}

// casModel is a register that is written only at the version that the writer expects.
var casModel = porcupine.Model{
	Init: func() any { return heard{version: 1} },
	Step: func(state, input, output any) (bool, any) {
		now, in, out := state.(heard), input.(asked), output.(heard)
		if in.what == "get" {
			return out.version == now.version && out.balance == now.balance, state
		}
		if out.no {
			return now.version != in.expect, state
		}
		return now.version == in.expect, heard{version: now.version + 1, balance: now.balance + in.amount}
	},
	DescribeOperation: describe,
}

// setModel is a set of ids to which one is added at a time.
var setModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(asked); in.what == "add" {
			ids := append(strings.Fields(state.(string)), in.id)
			slices.Sort(ids)
			return true, strings.Join(ids, " ")
		}
		return output.(heard).ids == state.(string), state
	},
	DescribeOperation: describe,
}

func describe(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) }
