package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"foyer/admin"
	"foyer/discovery"
	"foyer/internal/command"
)

func importCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Register what a dump says, in this store or a new one",
		Long: fmt.Sprintf(`Register what 'registry dump' has printed as json or csv, of this version or of an
earlier one, whether or not a registry is running on the store; without one the
database is made if there is none. FILE may be -, which is standard input.

All lines are checked first: if one cannot be registered, because its name or its
address is registered otherwise or was evicted for a while, say, nothing is
changed. If there are several, the first %d are listed on standard output. What is
registered exactly so is passed over, so that after an interruption the same file
can be imported again. Up to %d registrations are imported in one transaction,
all or none, for which whoever changes something waits a second or so; more in
several: if the disk fails meanwhile, or a room registers one of the names, those
before stay imported.

Names, addresses, owners, ttls and times of registration are kept; leases begin
anew, in full. What a dump does not hold is not carried over: histories, which
begin anew, answers to retries, and which names are evicted for a while ('list
--evicted'). The operator is not bound by --max-names-per-host, --addresses and
--authorized-keys. A file has at most %d lines and %d MiB; 'split' makes
several of a larger one in json.`,
			discovery.MaxConflicts, discovery.ImportBatch, discovery.MaxImportLines, discovery.MaxImportBytes>>20),
		Args: cobra.ExactArgs(1),
	}
	store := addStoreFlag(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		name := args[0]
		dump, err := openDump(name, c.InOrStdin())
		if err != nil {
			return err
		}
		if name == "-" {
			name = "standard input"
		}
		done, err := importDump(c.Context(), store, dump)
		if err != nil {
			refused, isLine := errors.AsType[*discovery.LineError](err)
			if isLine {
				for _, conflict := range refused.Conflicts {
					fmt.Fprintf(c.OutOrStdout(), "%s, line %d: %s\n", name, conflict.Line, command.Printable(conflict.Error))
				}
				err = fmt.Errorf("%s, line %d: %w", name, refused.Line, refused.Err)
			}
			switch {
			case done.New > 0:
				err = fmt.Errorf("%w; %d registrations before were imported", err, done.New)
			case isLine:
				err = fmt.Errorf("%w; nothing was imported", err)
			}
			return err
		}
		text := fmt.Sprintf("imported %d registrations", done.New)
		if done.New == 1 {
			text = "imported 1 registration"
		}
		if done.Known > 0 {
			text += fmt.Sprintf("; %d already registered", done.Known)
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), text)
		return err
	}
	return c
}

// openDump opens a file, or reads all of standard input or of a pipe: a dump may
// have to be read again from its beginning.
func openDump(name string, stdin io.Reader) (io.ReadSeeker, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			return file, nil
		}
		stdin = file
	}
	b, err := io.ReadAll(io.LimitReader(stdin, discovery.MaxImportBytes+1))
	return bytes.NewReader(b), err
}

func importDump(ctx context.Context, store *storeFlag, dump io.ReadSeeker) (done discovery.Imported, err error) {
	err = store.eitherWay(ctx, func(server *adminClient) (err error) {
		done, err = importInto(ctx, server, dump)
		return err
	}, func() error {
		if _, err := dump.Seek(0, io.SeekStart); err != nil {
			return err
		}
		d, err := discovery.ReadDump(dump)
		if err != nil {
			return err
		}
		if _, err := os.Stat(store.path); err != nil {
			if err := checkSocket(store.socket()); err != nil {
				return err
			}
		}
		return withFile(ctx, store.file(), func(update updater) (err error) {
			done, err = discovery.Import(d, update)
			return err
		})
	})
	return done, err
}

// importInto has the registry that holds the store import a dump.
func importInto(ctx context.Context, server *adminClient, dump io.ReadSeeker) (done discovery.Imported, err error) {
	if _, err := dump.Seek(0, io.SeekStart); err != nil {
		return done, err
	}
	body, err := server.send(ctx, http.MethodPost, "/v1/import", nil, io.NopCloser(dump))
	if err != nil {
		return done, err
	}
	for a, err := range lines[admin.ImportAnswer](body) {
		switch {
		case err != nil:
			return done, fmt.Errorf("%w; what it has imported by then stays, and can be imported again", err)
		case !a.Done:
		case a.Line > 0:
			return a.Imported, &discovery.LineError{Line: a.Line, Err: errors.New(a.Error), Conflicts: a.Conflicts}
		case a.Error != "":
			return a.Imported, errors.New(a.Error)
		default:
			return a.Imported, nil
		}
	}
	return done, errors.New("the running registry broke off: it ended")
}
