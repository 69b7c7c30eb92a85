// Package messages is Holdfast's contract with everything outside the process: what
// stands in the log, and the grammar of subjects, ids and headers on the wire.
// docs/wire.md tells the same byte by byte, for readers in other languages.
//
// The package knows no aggregate and does no I/O. Every text form is a type with a
// Parse function and a String method that undo each other.
package messages

//go:generate go tool -modfile=../tools/buf/go.mod buf generate .. --template ../buf.gen.yaml -o ..
