package discovery

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"foyer"
)

// MaxImportLines and MaxImportBytes bound a dump that is imported. It is held in
// memory, to be checked before anything is changed: a million rooms take some
// 400 MB.
const (
	MaxImportLines = 1 << 20
	MaxImportBytes = 1 << 30
)

// A Dump is what `registry dump` has printed, read and checked: each line can be
// registered, and no name and no address is in it twice.
type Dump struct {
	rows []dumped
	most int // rows
}

type dumped struct {
	foyer.Registration // without LeaseEnd
	line               int
}

// A LineError says why a line of a dump cannot be imported.
type LineError struct {
	Line int
	Err  error

	// Conflicts are the first lines that are in conflict with the store, at most
	// [MaxConflicts], if there are several; this one is the first of them.
	Conflicts []Conflict
}

// A Conflict says why a line cannot be registered.
type Conflict struct {
	Line  int    `json:"line"`
	Error string `json:"error"`
}

// MaxConflicts is how many conflicts are told one by one.
const MaxConflicts = 20

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// ReadDump reads JSON or CSV as `registry dump` prints them. What else an object
// or a row may hold, from a newer version say, is ignored. Its error is a
// [*LineError], or that of reading.
func ReadDump(r io.Reader) (*Dump, error) { return readDump(r, MaxImportLines, MaxImportBytes) }

func readDump(r io.Reader, lines int, bytes int64) (*Dump, error) {
	in := bufio.NewReaderSize(http.MaxBytesReader(nil, io.NopCloser(r), bytes), 1<<16)
	d := &Dump{most: lines}
	read := d.readJSON
	if first, err := in.Peek(1); err == nil && !strings.Contains("{ \t\r\n", string(first)) {
		read = d.readCSV
	}
	err := read(in)
	if err == nil {
		err = d.checkTwice()
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		err = fmt.Errorf("the dump is longer than %d MiB: import it in parts", bytes>>20)
	}
	return d, err
}

// dumpedFields are those of a line. What is nil is missing.
type dumpedFields struct {
	Name         *string      `json:"name"`
	Address      *string      `json:"address"`
	RegisteredAt *string      `json:"registered_at"`
	TTLSeconds   *json.Number `json:"ttl_seconds"`
	Owner        *string      `json:"owner"`
	From         *string      `json:"from"`  // may be missing
	Exits        *foyer.Exits `json:"exits"` // the same
}

var (
	errNotADump = errors.New("it is neither JSON nor CSV as `registry dump --format` prints them")
	errNotUTF8  = errors.New("it is not UTF-8")
)

func (d *Dump) readJSON(r io.Reader) error {
	in := bufio.NewScanner(r)
	for line := 1; in.Scan(); line++ {
		if strings.TrimSpace(in.Text()) == "" {
			continue
		}
		var f dumpedFields
		err := json.Unmarshal(in.Bytes(), &f)
		if refused, ok := errors.AsType[*foyer.Error](err); ok {
			err = refused
		} else if err != nil {
			err = fmt.Errorf("%w: %w", errNotADump, err)
		} else if !utf8.Valid(in.Bytes()) {
			err = errNotUTF8 // json has put something else in its place
		}
		if err := d.add(line, &f, err); err != nil {
			return err
		}
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%w: a line is longer than %d bytes", errNotADump, bufio.MaxScanTokenSize)
	} else if err != nil {
		return err
	}
	return nil
}

func (d *Dump) readCSV(r io.Reader) error {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	head, err := in.Read()
	head = slices.Clone(head)
	if err == nil && !slices.Contains(head, "name") {
		err = errNotADump
	}
	var exits foyer.Exits
	for err == nil {
		var cells []string
		if cells, err = in.Read(); err != nil {
			break
		}
		var f dumpedFields
		for i, cell := range cells {
			text := strings.TrimPrefix(cell, "'") // as a spreadsheet's text
			switch head[i] {
			case "name":
				f.Name = &text
			case "address":
				f.Address = &text
			case "registered_at":
				f.RegisteredAt = &text
			case "ttl_seconds":
				f.TTLSeconds = (*json.Number)(&text)
			case "owner":
				f.Owner = &text
			case "from":
				f.From = &text
			case "exits":
				if exits, err = "", nil; text != "" {
					err = exits.UnmarshalJSON([]byte(text))
				}
				f.Exits = &exits
			}
		}
		line, _ := in.FieldPos(0)
		err = d.add(line, &f, err)
	}
	switch malformed, ok := errors.AsType[*csv.ParseError](err); {
	case err == io.EOF:
		return nil
	case ok:
		return &LineError{Line: malformed.Line, Err: fmt.Errorf("%w: %w", errNotADump, malformed.Err)}
	case err == errNotADump:
		return &LineError{Line: 1, Err: err}
	}
	return err
}

// add adds a line, unless it has an error already.
func (d *Dump) add(line int, f *dumpedFields, err error) error {
	var r foyer.Registration
	if err == nil {
		r, err = f.registration()
	}
	if err == nil && len(d.rows) == d.most {
		err = fmt.Errorf("%d registrations can be imported at once: import the rest in a file of its own", d.most)
	}
	if err != nil {
		return &LineError{Line: line, Err: err}
	}
	d.rows = append(d.rows, dumped{r, line})
	return nil
}

// registration returns what the fields say.
func (f *dumpedFields) registration() (r foyer.Registration, err error) {
	for _, field := range []struct {
		name  string
		there bool
	}{
		{"name", f.Name != nil}, {"address", f.Address != nil}, {"registered_at", f.RegisteredAt != nil},
		{"ttl_seconds", f.TTLSeconds != nil}, {"owner", f.Owner != nil},
	} {
		if !field.there {
			return r, fmt.Errorf("it has no %s", field.name)
		}
	}
	if r.Name, err = foyer.ParseName(*f.Name); err != nil {
		return r, err
	}
	if r.Address, err = foyer.ParseAddress(*f.Address); err != nil {
		return r, err
	}
	at, err := time.Parse(time.RFC3339, *f.RegisteredAt)
	if err != nil {
		return r, fmt.Errorf("registered_at is %q and should be a time of RFC 3339", *f.RegisteredAt)
	}
	r.RegisteredAt = at.UTC().Truncate(time.Millisecond)
	seconds, err := strconv.ParseUint(f.TTLSeconds.String(), 10, 32)
	r.TTL = time.Duration(seconds) * time.Second
	if err != nil || r.TTL != 0 && (r.TTL < MinTTL || r.TTL > MaxTTL) {
		return r, fmt.Errorf("ttl_seconds is %q and should be 0 or from %.0f to %.0f", *f.TTLSeconds, MinTTL.Seconds(), MaxTTL.Seconds())
	}
	if *f.Owner != "" {
		if r.Owner, err = foyer.ParseKey(*f.Owner); err != nil {
			return r, err
		}
	}
	if f.From != nil && *f.From != "" {
		if r.From, err = netip.ParseAddr(*f.From); err != nil {
			return r, fmt.Errorf("from is %q and should be an IP address", *f.From)
		}
		r.From = r.From.Unmap().WithZone("")
	}
	if f.Exits != nil {
		r.Exits = *f.Exits
	}
	return r, nil
}

// checkTwice refuses a name or an address that comes twice.
func (d *Dump) checkTwice() error {
	names := make(map[foyer.Name]int, len(d.rows))
	addresses := make(map[foyer.Address]int, len(d.rows))
	for i := range d.rows {
		r := &d.rows[i]
		if line, twice := names[r.Name]; twice {
			return &LineError{Line: r.line, Err: fmt.Errorf("%q is in line %d as well", r.Name, line)}
		}
		if line, twice := addresses[r.Address]; twice {
			return &LineError{Line: r.line, Err: fmt.Errorf("%s is in line %d as well", r.Address, line)}
		}
		names[r.Name], addresses[r.Address] = r.line, r.line
	}
	return nil
}
