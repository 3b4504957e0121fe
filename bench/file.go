package bench

import "time"

// File keeps a report in a file that is a complete document at any moment.
type File struct {
	path string
	last time.Time
}

// NewFile returns a file to save reports to. The folder it is in must exist.
func NewFile(path string) (*File, error) {
	if err := folderExists(path); err != nil {
		return nil, err
	}
	return &File{path: path}, nil
}

// SaveSoon saves a report of a run that goes on, unless that was done within
// the last second: a run of many short trials is not slowed down by it.
func (f *File) SaveSoon(r *Report) error {
	if time.Since(f.last) < time.Second {
		return nil
	}
	return f.Save(r.partial())
}

// partial is the report as that of a run that did not come to its end.
func (r *Report) partial() *Report {
	partial := *r
	partial.Incomplete = true
	return &partial
}

// Save replaces the file by the report.
func (f *File) Save(r *Report) error {
	err := writeFile(f.path, r.WriteJSON)
	f.last = time.Now()
	return err
}
