// Package node assembles a node: a NATS server or a connection to one, the log, the
// aggregates, the gateway. [Main] makes a team's own binary of its aggregate types:
//
//	func main() {
//		node.Main(node.Domain{Name: "bank", Types: []holdfast.Definition{bank.Account}})
//	}
//
// [Start] is the same for a program that has a main of its own.
package node
