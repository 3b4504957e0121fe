package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// writeFile replaces a file by what write writes: readers see the old document
// or the new one, never a part. What is no file, like a pipe or /dev/null, is
// written to as it is.
func writeFile(path string, write func(io.Writer) error) error {
	var err error
	if info, statErr := os.Stat(path); statErr == nil && !info.Mode().IsRegular() {
		err = writeInto(path, write)
	} else {
		err = replaceFile(path, write)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func writeInto(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func replaceFile(path string, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a link stays, and leads to the new document
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.unfinished")
	if err != nil {
		return err
	}
	err = errors.Join(write(tmp), tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(tmp.Name()))
	}
	return err
}

// folderExists tells early what writeFile would fail with in the end, and refuses the name
// by which many programs mean standard output.
func folderExists(path string) error {
	if path == "-" {
		return fmt.Errorf("%w: standard output is for people; want a file, like ./- if that is its name", ErrChoice)
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("cannot write %s: there is no folder %s", path, dir)
	}
	return nil
}
