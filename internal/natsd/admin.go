package natsd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNoAdmin is the error of [ReadAdmin] when no server that listens runs on
// the folder.
var ErrNoAdmin = errors.New("no running server to connect to")

const adminFile = "admin.json"

// Admin is what a program on the same machine needs to connect to a running
// server with full rights in CORE. It lies in the data folder as admin.json,
// readable by its owner only, while the server runs: a JSON object with the
// members url, user and password. After a crash an old one may be left, whose
// password no server accepts.
type Admin struct {
	URL      string `json:"url"`
	User     string `json:"user"`
	Password string `json:"password"`
}

// ReadAdmin returns the admin of the server that runs on dataDir. The error is
// [ErrNoAdmin] when there is none, or none that listens.
func ReadAdmin(dataDir string) (Admin, error) {
	path := filepath.Join(dataDir, adminFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Admin{}, fmt.Errorf("%w: %s does not exist; start a server on this folder that listens for clients",
			ErrNoAdmin, path)
	}
	if err != nil {
		return Admin{}, fmt.Errorf("read admin: %w", err)
	}
	var a Admin
	if err := json.Unmarshal(b, &a); err != nil {
		return Admin{}, fmt.Errorf("read admin %s: %w; restart the server to have it written again", path, err)
	}
	if a.URL == "" || a.User == "" || a.Password == "" {
		return Admin{}, fmt.Errorf("read admin %s: url, user or password is missing;"+
			" restart the server to have it written again", path)
	}
	return a, nil
}

// writeAdmin replaces the admin of dataDir in one step: a reader sees the old
// or the new one.
func writeAdmin(dataDir string, a Admin) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("encode admin: %w", err)
	}
	tmp := filepath.Join(dataDir, adminFile+".tmp")
	// An old one could have kept wider rights.
	if err := removeIfExists(tmp); err != nil {
		return fmt.Errorf("write admin: %w", err)
	}
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write admin: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dataDir, adminFile)); err != nil {
		return fmt.Errorf("write admin: %w", err)
	}
	return nil
}

func removeAdmin(dataDir string) error {
	if err := removeIfExists(filepath.Join(dataDir, adminFile)); err != nil {
		return fmt.Errorf("remove admin: %w", err)
	}
	return nil
}

func removeIfExists(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
