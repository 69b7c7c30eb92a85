package natsd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrWrongFolder is the error of a start on a data folder that belongs to
// another server: to a member of a cluster, or to one that was alone.
var ErrWrongFolder = errors.New("data folder is another server's")

const placeFile = "member.json"

// place is the member of a cluster whose folder it is. It lies in the folder as
// member.json from the first start on.
type place struct {
	Cluster string `json:"cluster"`
	Name    string `json:"name"`
}

func (p place) String() string { return fmt.Sprintf("member %q of the cluster %q", p.Name, p.Cluster) }

// checkPlace keeps a server from a folder where it would do harm. A member
// deletes the streams that its cluster does not know, as those of a server that
// was alone are; members that have changed their folders would each miss what
// they have promised; and a server that is alone does not serve a stream with
// replicas.
func (s *Server) checkPlace() error {
	found, err := readPlace(s.cfg.DataDir)
	if err != nil {
		return err
	}
	if s.cfg.Cluster == nil {
		return s.checkNoPlace(found)
	}
	own := place{Cluster: s.cfg.Cluster.Name, Name: s.cfg.Name}
	if found != nil {
		if *found != own {
			return fmt.Errorf("%w: it is that of %s, and this is %s: start that member, or choose another folder", ErrWrongFolder, found, own)
		}
		return nil
	}
	stream, err := storedStream(s.cfg.DataDir)
	if err != nil {
		return err
	}
	if stream != "" {
		return fmt.Errorf("%w: %s is of a server that was alone, and a cluster would delete it: start the server without a cluster, or choose an empty folder",
			ErrWrongFolder, stream)
	}
	return writePlace(s.cfg.DataDir, own)
}

// checkNoPlace lets a server be alone on the folder of a member that has not
// kept anything: such as one that was never joined by others.
func (s *Server) checkNoPlace(found *place) error {
	if found == nil {
		return nil
	}
	stream, err := storedStream(s.cfg.DataDir)
	if err != nil {
		return err
	}
	if stream != "" {
		return fmt.Errorf("%w: it is that of %s: start that member, or choose another folder", ErrWrongFolder, found)
	}
	if err := removeIfExists(filepath.Join(s.cfg.DataDir, placeFile)); err != nil {
		return fmt.Errorf("remove whose folder it was: %w", err)
	}
	return nil
}

// storedStream is the name of one that holds messages, "" if none does.
func storedStream(dataDir string) (string, error) {
	folders, err := streamFolders(dataDir)
	if err != nil {
		return "", err
	}
	for _, folder := range folders {
		stored, err := holdsMessages(folder)
		if err != nil {
			return "", fmt.Errorf("look for messages: %w", err)
		}
		if stored {
			return filepath.Base(folder), nil
		}
	}
	return "", nil
}

// streamFolders are those of the streams that are stored below dataDir.
func streamFolders(dataDir string) ([]string, error) {
	folders, err := filepath.Glob(filepath.Join(dataDir, server.JetStreamStoreDir, "*", "streams", "*"))
	if err != nil {
		return nil, fmt.Errorf("list folders of streams: %w", err)
	}
	return folders, nil
}

// readPlace gives nil for the folder of a server that is alone, or of none.
func readPlace(dataDir string) (*place, error) {
	path := filepath.Join(dataDir, placeFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read whose folder it is: %w", err)
	}
	var p place
	if err := json.Unmarshal(b, &p); err != nil || p.Name == "" {
		return nil, fmt.Errorf(`read whose folder it is: %s is damaged: write {"cluster": "...", "name": "..."} with those of the member`, path)
	}
	return &p, nil
}

// writePlace is durable before anything else is in the folder, which would
// otherwise pass for that of a server that was alone.
func writePlace(dataDir string, p place) error {
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode whose folder it is: %w", err)
	}
	path := filepath.Join(dataDir, placeFile)
	if err := writeSynced(path+".tmp", append(b, '\n')); err != nil {
		return fmt.Errorf("write whose folder it is: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write whose folder it is: %w", err)
	}
	dir, err := os.Open(dataDir)
	if err != nil {
		return fmt.Errorf("write whose folder it is: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
