package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"foyer/internal/command"
	"foyer/storage/bolt"
)

// verifierVariable tells the child process of `registry verify` to read the
// file.
const verifierVariable = "FOYER_VERIFIER"

func verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check a database file from end to end",
		Long: `Check a database file from end to end: that every record can be read and that
names and addresses agree, then the pages of the B+tree. Each fault is a line on
standard output, and the status is 1 if there is one. The file is not changed. A
damaged file can crash its reader, so a separate process reads it.

If a registry is running on the file, that writes a copy beside it, which is
checked instead and removed; there must be space for it. It is refused if the file
was removed or replaced under that registry.`,
	}
	store := addStoreFlag(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		if os.Getenv(verifierVariable) != "" {
			return store.hint(verify(store.path, c.OutOrStdout()))
		}
		err := store.eitherWay(c.Context(), func(server *adminClient) error {
			return verifyCopy(c.Context(), server, store, c.OutOrStdout())
		}, func() error {
			return verifyApart(c.Context(), store.path, store.path, c.OutOrStdout())
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s: no faults found\n", store.path)
		return err
	}
	return c
}

var errDamaged = errors.New("the database is damaged")

func verify(path string, stdout io.Writer) error {
	faults := 0
	err := bolt.Verify(path, func(fault string) {
		faults++
		fmt.Fprintln(stdout, command.Printable(fault))
	})
	if err == nil && faults > 0 {
		err = errDamaged
	}
	return err
}

// verifyCopy makes the registry that holds the store write a copy, and verifies
// that. The registry removes it when the connection is closed.
func verifyCopy(ctx context.Context, server *adminClient, store *storeFlag, stdout io.Writer) error {
	body, err := server.do(ctx, http.MethodPost, "/v1/copy", url.Values{"check": {"pages"}})
	if err != nil {
		return err
	}
	defer body.Close()
	p, err := follow(body, func(_, _ int64) {})
	if err != nil {
		return err
	}
	return verifyApart(ctx, filepath.Join(filepath.Dir(store.file()), filepath.Base(p.Name)), store.path, stdout)
}

// verifyApart verifies the file at path in a child process, and survives to
// report if that crashes. Messages call the file name.
func verifyApart(ctx context.Context, path, name string, stdout io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var said bytes.Buffer // an error in one line, or what the runtime prints after a crash
	child := exec.CommandContext(ctx, self, "verify", "--store", "bolt:"+path)
	child.Env = append(os.Environ(), verifierVariable+"=1")
	child.Stdout, child.Stderr = stdout, &said
	err = child.Run()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil || !ended {
		return err
	}
	first, _ := bufio.NewReader(&said).ReadString('\n')
	if exit.ExitCode() != 1 {
		return fmt.Errorf("%w: reading it crashed: %s", errDamaged, first)
	}
	_, message, _ := strings.Cut(strings.TrimSpace(first), ": ")
	return errors.New(strings.ReplaceAll(message, path, name))
}
