package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"foyer/storage/bolt"
)

// verifierVariable tells the process that `registry verify` starts that it is
// the one which reads.
const verifierVariable = "FOYER_VERIFIER"

func verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check a database file from end to end",
		Long: `Check a database file from end to end: the pages of the B+tree, then that every
record can be read and that names and addresses agree. Each fault is a line on
standard output, and the status is 1 if there is one. The file is not changed,
and no registry may be running on it. A damaged file can crash whoever reads it,
so a process of its own does.`,
	}
	store := addStoreFlag(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		if os.Getenv(verifierVariable) != "" {
			return verify(store.path, c.OutOrStdout())
		}
		return verifyApart(c.Context(), store.path, c.OutOrStdout())
	}
	return c
}

var errDamaged = errors.New("the database is damaged")

func verify(path string, stdout io.Writer) error {
	faults := 0
	err := bolt.Verify(path, func(fault string) {
		faults++
		fmt.Fprintln(stdout, fault)
	})
	switch {
	case err != nil:
		return err
	case faults > 0:
		return errDamaged
	}
	_, err = fmt.Fprintf(stdout, "%s: no faults found\n", path)
	return err
}

// verifyApart has another process of this program verify the file, and lives to
// tell if that one crashes.
func verifyApart(ctx context.Context, path string, stdout io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var said bytes.Buffer // an error in one line, or what the runtime prints of a crash
	child := exec.CommandContext(ctx, self, "verify", "--store", "bolt:"+path)
	child.Env = append(os.Environ(), verifierVariable+"=1")
	child.Stdout, child.Stderr = stdout, &said
	err = child.Run()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if err == nil || !ended {
		return err
	}
	first, _ := bufio.NewReader(&said).ReadString('\n')
	if exit.ExitCode() != 1 {
		return fmt.Errorf("%w: reading it crashed: %s", errDamaged, first)
	}
	_, message, _ := bytes.Cut([]byte(first), []byte(": "))
	return errors.New(string(bytes.TrimSpace(message)))
}
