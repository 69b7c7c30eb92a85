package bench

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

const (
	// eventsOfAged is how many each account has that is there only to be old.
	eventsOfAged = 10
	// agedTogether accounts take turns in the log: the events of one are as far from one another.
	agedTogether = 10_000
	// agedAs begins the ids of these accounts.
	agedAs = "aged-"
)

func isAged(id string) bool { return strings.HasPrefix(id, agedAs) }

// age fills the log with so many events, over a tenth as many accounts, and starts the servers
// anew, so that what they keep in memory is what they read from the disk.
func (s *stage) age(ctx context.Context, events int, told func(format string, args ...any)) error {
	accounts, begin, said := events/eventsOfAged, time.Now(), 0
	for first := 0; first < accounts; first += agedTogether {
		ids := make([]string, min(agedTogether, accounts-first))
		for i := range ids {
			ids[i] = agedAs + strconv.Itoa(first+i)
		}
		h := newHistory(s) // of these only: those of all would not fit
		for range eventsOfAged {
			if ended(ctx) {
				return context.Cause(ctx)
			}
			if err := h.append(ids...); err != nil {
				return err
			}
		}
		s.aged += len(ids) * eventsOfAged
		if tenths := 10 * s.aged / events; tenths > said {
			said = tenths
			told("the log has %d of %d events", s.aged, events)
		}
	}
	took := time.Since(begin)
	size, err := sizeOf(s.folder)
	if err != nil {
		return err
	}
	told("filled with %d events in %v, %.0f a second, %d MiB on disk; starting the servers again", s.aged, took.Round(time.Second), float64(s.aged)/took.Seconds(), size>>20)
	begin = time.Now()
	if err := s.restart(ctx); err != nil {
		return fmt.Errorf("start the servers again: %w", err)
	}
	told("started again within %v", time.Since(begin).Round(10*time.Millisecond))
	return nil
}

// restart stops everything and starts it again on the same folders.
func (s *stage) restart(ctx context.Context) error {
	configs := make([]natsd.Config, len(s.servers))
	for i, server := range s.servers {
		configs[i] = server.Config()
	}
	if err := s.leave(); err != nil {
		return err
	}
	errs := make([]error, len(configs))
	started := make([]*natsd.Server, len(configs))
	var all sync.WaitGroup
	for i, c := range configs {
		all.Go(func() { started[i], errs[i] = natsd.Start(ctx, c) })
	}
	all.Wait()
	if err := s.take(started, errs); err != nil {
		return err
	}
	return s.joinAll(ctx)
}

// sizeOf is how many bytes the files of a folder have.
func sizeOf(folder string) (size int64, err error) {
	err = filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// short is a number of events with as few digits as it has.
func short(n int) string {
	switch {
	case n%1_000_000 == 0:
		return strconv.Itoa(n/1_000_000) + "M"
	case n%1000 == 0:
		return strconv.Itoa(n/1000) + "k"
	default:
		return strconv.Itoa(n)
	}
}
