package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"foyer/internal/command"
)

// tool is a program with a group of commands and most kinds of flag.
func tool() *cobra.Command {
	root := &cobra.Command{Use: "tool", Short: "A tool"}
	greet := &cobra.Command{
		Use:   "greet NAME",
		Short: "Greet somebody",
		Args:  cobra.ExactArgs(1),
	}
	ttl := greet.Flags().Duration("ttl", 30*time.Second, "how long")
	loud := greet.Flags().BoolP("very-loud", "l", false, "shout")
	registries := command.DiscoveryFlag(greet.Flags())
	plain := command.PlainFlag(greet.Flags())
	logging := command.LogFlags(greet.Flags())
	greet.RunE = func(cmd *cobra.Command, args []string) error {
		fmt.Fprintln(cmd.OutOrStdout(), args[0], *ttl, *loud, *registries, *plain, logging.Level())
		return nil
	}
	root.AddCommand(greet,
		&cobra.Command{Use: "fail", Short: "Fail", RunE: func(*cobra.Command, []string) error {
			return errors.Join(errors.New("it went wrong"), errors.New("\x1b[31mtwice\x1b[0m\r"))
		}},
		&cobra.Command{Use: "misuse", Short: "Object", RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("checking: %w", command.Usagef("the name %q is bad", "x"))
		}},
	)
	return root
}

func run(root *cobra.Command, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = command.Run(context.Background(), root, args, strings.NewReader(""), &out, &err)
	return status, out.String(), err.String()
}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    map[string]string
		args   string
		status int
		stdout string
		stderr string
	}{
		{name: "defaults", args: "greet Ann", stdout: "Ann 30s false [127.0.0.1:7666] false INFO\n"},
		{name: "flags", args: "greet --ttl 5s -l Ann --plain --log-level warn --discovery [::1]:1,b.example:2",
			stdout: "Ann 5s true [[::1]:1 b.example:2] true WARN\n"},
		{name: "environment", env: map[string]string{"FOYER_TTL": "7s", "FOYER_VERY_LOUD": "1", "FOYER_DISCOVERY": "a:1, b:2", "FOYER_LOG_LEVEL": "error"},
			args: "greet Ann", stdout: "Ann 7s true [a:1 b:2] false ERROR\n"},
		{name: "flag before environment", env: map[string]string{"FOYER_TTL": "7s"}, args: "greet Ann --ttl 8s",
			stdout: "Ann 8s false [127.0.0.1:7666] false INFO\n"},
		{name: "flag before bad environment", env: map[string]string{"FOYER_TTL": "long"}, args: "greet Ann --ttl 8s",
			stdout: "Ann 8s false [127.0.0.1:7666] false INFO\n"},
		{name: "empty variable", env: map[string]string{"FOYER_TTL": ""}, args: "greet Ann",
			stdout: "Ann 30s false [127.0.0.1:7666] false INFO\n"},
		{name: "help and version have no variable", env: map[string]string{"FOYER_HELP": "1", "FOYER_VERSION": "1"}, args: "greet Ann",
			stdout: "Ann 30s false [127.0.0.1:7666] false INFO\n"},

		{name: "bad variable", env: map[string]string{"FOYER_TTL": "long"}, args: "greet Ann", status: command.Misuse,
			stderr: "tool: invalid value \"long\" of the environment variable FOYER_TTL: time: invalid duration \"long\"; see 'tool greet --help'\n"},
		{name: "bad registry", args: "greet Ann --discovery here", status: command.Misuse,
			stderr: "tool: invalid argument \"here\" for \"--discovery\" flag: \"here\" is not of the form host:port; see 'tool greet --help'\n"},
		{name: "bad port", args: "greet Ann --discovery here:70000", status: command.Misuse,
			stderr: "tool: invalid argument \"here:70000\" for \"--discovery\" flag: the port is not a number from 1 to 65535; see 'tool greet --help'\n"},
		{name: "no host", args: "greet Ann --discovery :7666", status: command.Misuse,
			stderr: "tool: invalid argument \":7666\" for \"--discovery\" flag: \":7666\" names no host; see 'tool greet --help'\n"},
		{name: "bad value", args: "greet Ann --ttl x", status: command.Misuse,
			stderr: "tool: invalid argument \"x\" for \"--ttl\" flag: time: invalid duration \"x\"; see 'tool greet --help'\n"},
		{name: "unknown flag", args: "greet Ann --tlt x", status: command.Misuse,
			stderr: "tool: unknown flag: --tlt; see 'tool greet --help'\n"},
		{name: "missing argument", args: "greet", status: command.Misuse,
			stderr: "tool: wrong arguments, the usage is: tool greet NAME; see 'tool greet --help'\n"},
		{name: "superfluous argument", args: "fail now", status: command.Misuse,
			stderr: "tool: wrong arguments, the usage is: tool fail; see 'tool fail --help'\n"},
		{name: "no command", args: "", status: command.Misuse,
			stderr: "tool: a command is missing; see 'tool --help'\n"},
		{name: "unknown command", args: "great Ann", status: command.Misuse,
			stderr: "tool: unknown command \"great\", perhaps greet; see 'tool --help'\n"},
		{name: "unknown command with a flag", args: "great --ttl 5s Ann", status: command.Misuse,
			stderr: "tool: unknown command \"great\", perhaps greet; see 'tool --help'\n"},
		{name: "unknown flag without a command", args: "--frob greet", status: command.Misuse,
			stderr: "tool: unknown flag: --frob; see 'tool --help'\n"},
		{name: "no such help", args: "help xyzzy", status: command.Misuse,
			stderr: "tool: no help for \"xyzzy\"; see 'tool help --help'\n"},
		{name: "the command's own objection", args: "misuse", status: command.Misuse,
			stderr: "tool: checking: the name \"x\" is bad; see 'tool misuse --help'\n"},
		{name: "failure", args: "fail", status: command.Failed,
			stderr: "tool: it went wrong; �[31mtwice�[0m\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			status, stdout, stderr := run(tool(), strings.Fields(c.args)...)
			if status != c.status || stdout != c.stdout || stderr != c.stderr {
				t.Errorf("%s: status %d, stdout %q, stderr %q\nwant    status %d, stdout %q, stderr %q",
					c.args, status, stdout, stderr, c.status, c.stdout, c.stderr)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"greet", "--help"}, {"help", "greet"}} {
		status, stdout, stderr := run(tool(), args...)
		if status != command.Done || stderr != "" {
			t.Errorf("%q: status %d, stderr %q", args, status, stderr)
		}
		for _, part := range []string{"tool greet NAME [flags]", "[$FOYER_VERY_LOUD]", "[$FOYER_DISCOVERY] (default 127.0.0.1:7666)", "(default info)"} {
			if strings.Count(stdout, part) != 1 {
				t.Errorf("%q: the help does not have %q once:\n%s", args, part, stdout)
			}
		}
	}
	status, stdout, _ := run(tool(), "--help")
	if status != command.Done || !strings.Contains(stdout, "\n  greet       Greet somebody\n") || strings.Contains(stdout, "completion") {
		t.Errorf("status %d, help:\n%s", status, stdout)
	}
}

func TestVersion(t *testing.T) {
	status, stdout, stderr := run(tool(), "--version")
	if status != command.Done || stdout != "tool "+command.Version()+"\n" || stderr != "" {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

// A root without commands below it is the usual case of roomd and playerctl.
func TestSingleCommand(t *testing.T) {
	play := &cobra.Command{Use: "play", RunE: func(cmd *cobra.Command, _ []string) error {
		return context.Cause(cmd.Context())
	}}
	if status, _, stderr := run(play, "x"); status != command.Misuse || !strings.HasPrefix(stderr, "play: ") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	if status, stdout, stderr := run(play); status != command.Done || stdout+stderr != "" {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}
func TestCompletion(t *testing.T) {
	single := func() *cobra.Command {
		c := &cobra.Command{Use: "tool NAME TEXT", Args: cobra.ExactArgs(2), RunE: func(c *cobra.Command, args []string) error {
			fmt.Fprintln(c.OutOrStdout(), "ran", args)
			return nil
		}}
		c.Flags().String("colour", "", "of it")
		return c
	}
	for name, make := range map[string]func() *cobra.Command{"of many commands": tool, "of one": single} {
		t.Run(name, func(t *testing.T) {
			for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
				status, stdout, stderr := run(make(), "completion", shell)
				if status != command.Done || !strings.Contains(stdout, "tool") || !strings.Contains(stdout, "__complete") || stderr != "" {
					t.Errorf("%s: status %d, %d bytes, %q", shell, status, len(stdout), stderr)
				}
			}
			for _, args := range [][]string{{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}} {
				if status, stdout, stderr := run(make(), args...); status != command.Misuse || stdout != "" || !strings.Contains(stderr, "goes after --") {
					t.Errorf("%q: status %d, %q, %q", args, status, stdout, stderr)
				}
			}
		})
	}
	for shell, mended := range map[string]string{"bash": `printf "%q\n" "${COMPREPLY[@]}")
        fi`, "fish": "string unescape"} {
		if _, stdout, _ := run(tool(), "completion", shell); !strings.Contains(stdout, mended) {
			t.Errorf("the script for %s is not mended: cobra's has changed", shell)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"-- completion bash", "ran [completion bash]\n"},
		{"--colour red -- completion bash", "ran [completion bash]\n"},
		{"help me", "ran [help me]\n"},
		{"__complete --col", "--colour\tof it [$FOYER_COLOUR]\n:4\n"},
	} {
		status, stdout, _ := run(single(), strings.Fields(c.args)...)
		if status != command.Done || stdout != c.want {
			t.Errorf("%s: status %d, %q, want %q", c.args, status, stdout, c.want)
		}
	}
	if status, stdout, _ := run(single(), "--colour", "red", "completion", "bash"); status != command.Done || !strings.Contains(stdout, "__complete") {
		t.Errorf("behind a flag: status %d, %.100q", status, stdout)
	}
	if _, stdout, _ := run(tool(), "__complete", "gre"); stdout != "greet\tGreet somebody\n:4\n" {
		t.Errorf("of many commands: %q", stdout)
	}
}

// Untrusted text in an error cannot control the terminal.
func TestErrorsArePrintable(t *testing.T) {
	failing := &cobra.Command{Use: "tool", RunE: func(*cobra.Command, []string) error {
		return errors.New("evil \u202eeman\u2066 \u200f\x1b[2J\u2028gone")
	}}
	if status, _, stderr := run(failing); status != command.Failed || stderr != "tool: evil \ufffdeman\ufffd \ufffd\ufffd[2J\ufffdgone\n" {
		t.Errorf("status %d, %q", status, stderr)
	}
}
