package node

import (
	"context"
	"iter"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// A linkedReader shows the log only while the node is in touch with the others: a server
// that is cut off from the rest of its cluster takes itself for the leader for a while,
// and reads what was true when it was.
type linkedReader struct {
	persistence.Reader
	linked func() error
}

// Backwards implements [persistence.Reader]. What follows the newest commit never changes,
// so that one alone is in question.
func (r linkedReader) Backwards(ctx context.Context, ref holdfast.Ref, at holdfast.Version) iter.Seq2[persistence.Commit, error] {
	return func(yield func(persistence.Commit, error) bool) {
		first := true
		for c, err := range r.Reader.Backwards(ctx, ref, at) {
			if first && err == nil {
				err = r.linked()
			}
			if !yield(c, err) || err != nil {
				return
			}
			first = false
		}
		if err := r.linked(); first && err != nil {
			yield(persistence.Commit{}, err)
		}
	}
}
