package jetstream

import (
	"context"
	"errors"
	"iter"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// Backwards implements [persistence.Reader]. It reads 33 commits at a time, and only
// those that are asked for.
func (s *Store) Backwards(ctx context.Context, ref holdfast.Ref, at holdfast.Version) iter.Seq2[persistence.Commit, error] {
	return func(yield func(persistence.Commit, error) bool) {
		a, err := s.aggregate(ref)
		if err != nil {
			yield(persistence.Commit{}, err)
			return
		}
		page, err := s.newest(ctx, a, at)
		for err == nil && len(page) > 0 {
			// The last of the page is checked against the first of the next.
			for ; len(page) > 1 && err == nil; page = page[1:] {
				if _, err = page[1].Head().Follow(page[0]); err != nil {
					err = a.corrupt(err)
				} else if !yield(page[0], nil) {
					return
				}
			}
			if err == nil {
				page, err = s.page(ctx, a, page[0])
			}
			if err == nil && len(page) == 1 {
				if _, err = a.first().Follow(page[0]); err != nil {
					err = a.corrupt(err)
				} else {
					yield(page[0], nil)
					return
				}
			}
		}
		if err != nil {
			yield(persistence.Commit{}, err)
		}
	}
}

// page gives c and all commits before it that it knows of, newest first.
func (s *Store) page(ctx context.Context, a aggregate, c persistence.Commit) ([]persistence.Commit, error) {
	before := c.Before()
	page := make([]persistence.Commit, 1, len(before)+1)
	page[0] = c
	if len(before) == 0 {
		return page, nil
	}
	out, by := make(chan answer, len(before)), s.reads.lane()
	for i, seq := range before {
		if err := by.ask(ctx, a.partition.directAt(seq), i, out); err != nil {
			return nil, a.unavailable("read", err)
		}
	}
	page = page[:len(before)+1]
	for range before {
		select {
		case got := <-out:
			var err error
			if page[got.tag+1], err = s.openAt(ctx, a, before[got.tag], c.Position, got.msg, got.err); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, a.unavailable("read", context.Cause(ctx))
		}
	}
	return page, nil
}

// newest gives the newest commits up to version at, newest first: at least one, unless
// there is none.
func (s *Store) newest(ctx context.Context, a aggregate, at holdfast.Version) ([]persistence.Commit, error) {
	c, found, err := s.last(ctx, a)
	if err != nil || !found {
		return nil, err
	}
	beyond := func(c persistence.Commit) bool { return at != 0 && c.FirstVersion > uint64(at) }
	if !beyond(c) {
		return []persistence.Commit{c}, nil
	}
	for {
		before := c.Before()
		if len(before) == 0 {
			return nil, a.corrupt(errors.New("its first commit does not start at version 1"))
		}
		oldest, err := s.at(ctx, a, before[len(before)-1], c)
		if err != nil {
			return nil, err
		}
		if beyond(oldest) {
			c = oldest
			continue
		}
		page, err := s.page(ctx, a, c)
		if err != nil {
			return nil, err
		}
		for beyond(page[0]) {
			page = page[1:]
		}
		return page, nil
	}
}
