package persistence

import (
	"context"
	"math"
	"slices"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// Page gives the commits that hold an aggregate's events from a version on, limit events at
// the most, newest first, and the version with which the next page starts: 0 when there is
// none. It reads no more of the log than that, and keeps no more than fits into room bytes,
// or one commit. There are none of an aggregate to which nothing has happened.
func Page(ctx context.Context, r Reader, ref holdfast.Ref, from, limit uint64, room int) (commits []Commit, next uint64, err error) {
	end := from + limit // the first version of the next page, if there is one
	if end < from {
		end = math.MaxUint64
	}
	size := 0
	for c, err := range r.Backwards(ctx, ref, holdfast.Version(end)) {
		if err != nil {
			return nil, 0, err
		}
		if len(commits) == 0 {
			if c.LastVersion == 0 {
				break
			}
			if c.LastVersion >= end {
				next = end
			}
		}
		commits = append(commits, c)
		size += len(c.Body)
		for ; len(commits) > 1 && size-len(commits[0].Body) > room; commits = commits[1:] {
			size -= len(commits[0].Body)
			next = min(end, commits[0].FirstVersion)
			commits[0] = Commit{}
		}
		if c.FirstVersion <= from {
			break
		}
	}
	return commits, next, nil
}

// EachEvent calls f for the events of commits that are given newest first: oldest first, until
// it says no.
func EachEvent(commits []Commit, f func(c Commit, version uint64, ch *messages.Change, e *messages.Event) (more bool, err error)) error {
	for _, c := range slices.Backward(commits) {
		version := c.FirstVersion
		for _, ch := range c.Changes {
			for _, e := range ch.Events {
				if more, err := f(c, version, ch, e); err != nil || !more {
					return err
				}
				version++
			}
		}
	}
	return nil
}
