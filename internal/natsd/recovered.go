package natsd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// errUnrecovered is the error of a start on a folder with messages that the
// server does not serve, because what describes their stream is damaged.
var errUnrecovered = errors.New("stored stream cannot be served")

// checkRecovered refuses what the server passes over with a warning: a stream
// that it cannot read is absent, and would be made anew as if nothing had ever
// been promised. A member of a cluster is not checked: its streams come from
// the others.
func (s *Server) checkRecovered() error {
	if s.cfg.Cluster != nil {
		return nil
	}
	served := make(map[string]bool)
	info, err := s.nats.Jsz(&server.JSzOptions{Streams: true})
	if err != nil {
		return fmt.Errorf("list streams: %w", err)
	}
	for _, a := range info.AccountDetails {
		for _, stream := range a.Streams {
			served[filepath.Join(a.Name, stream.Name)] = true
		}
	}
	folders, err := streamFolders(s.cfg.DataDir)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		name := filepath.Base(folder)
		if strings.HasPrefix(name, ".") { // half deleted
			continue
		}
		account := filepath.Base(filepath.Dir(filepath.Dir(folder)))
		if served[filepath.Join(account, name)] {
			continue
		}
		stored, err := holdsMessages(folder)
		if err != nil {
			return fmt.Errorf("look for messages: %w", err)
		}
		if stored {
			return fmt.Errorf("%w: %s in %s holds messages (the server says: %s);"+
				" restore the folder from a backup, or move it away to do without it",
				errUnrecovered, name, folder, strings.Join(s.log.warned(), "; "))
		}
	}
	return nil
}

// holdsMessages tells a stream with messages from one whose making was cut
// short, which is of no consequence.
func holdsMessages(folder string) (bool, error) {
	blocks, err := filepath.Glob(filepath.Join(folder, "msgs", "*.blk"))
	if err != nil {
		return false, err
	}
	for _, block := range blocks {
		stat, err := os.Stat(block)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if stat.Size() > 0 {
			return true, nil
		}
	}
	return false, nil
}
