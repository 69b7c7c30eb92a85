package natsd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// ErrFolderInUse is the error of a start on a data folder that another server,
// in this or another process, owns.
var ErrFolderInUse = errors.New("data folder is in use")

const lockFile = "holdfast.lock"

// folderLock is the ownership of a data folder. The kernel takes it back when
// the process ends, however it ends.
type folderLock struct {
	file *os.File
}

// held are the locks of this process. A file that nobody knows any more is closed, and that
// would give the folder up, though the server that was started on it runs on.
var held sync.Map

// lockFolder takes ownership of dir, which exists. The file stays where it is
// afterwards: to remove it would let two servers lock two files of one name.
func lockFolder(dir string) (*folderLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
		}
		return nil, fmt.Errorf("%w: %s belongs to %s; stop that server or choose another folder",
			ErrFolderInUse, dir, holder(f))
	}
	if err := writePID(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("write lock of data folder %s: %w", dir, err)
	}
	l := &folderLock{file: f}
	held.Store(l, nil)
	return l, nil
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder says who holds the lock: it may not have written its pid yet.
func holder(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	pid := strings.TrimSpace(string(b))
	if err != nil || pid == "" {
		return "another process"
	}
	return "the process with pid " + pid
}

// release gives the folder up. To close the file is not enough: a process that
// is being forked at this moment shares it until it becomes another program.
func (l *folderLock) release() error {
	held.Delete(l)
	if err := errors.Join(flock(l.file, syscall.LOCK_UN), l.file.Close()); err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	return nil
}
