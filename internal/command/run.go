package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// The exit statuses of every program.
const (
	Done   = 0 // it did what it was asked to
	Failed = 1 // it could not, or was interrupted; the reason is one line on standard error
	Misuse = 2 // wrong usage: an unknown flag, a bad value, the wrong number of arguments
)

// Run runs the command that args, the arguments without the program's name,
// select in the tree of root, and returns the exit status: [Done], [Failed] or
// [Misuse]. An error is written to stderr as one line, "NAME: message", or
// "NAME: interrupted" if the command failed because its context ended: ctx, or
// the one that the command has replaced it with. Commands find ctx in
// cmd.Context() and the streams in cmd.InOrStdin(), cmd.OutOrStdout() and
// cmd.ErrOrStderr().
//
// A flag that is not in args takes its value from its environment variable,
// [Variable], if that is set and not empty. A command without an Args validator
// takes no arguments. Run adapts the tree, so it can be called only once for
// each.
func Run(ctx context.Context, root *cobra.Command, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	prepare(root, args)
	if writeManual != nil {
		if err := writeManual(root, args[0]); err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", root.Name(), err)
			return Failed
		}
		return Done
	}
	root.SetArgs(append([]string{}, args...)) // cobra takes nil for os.Args
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	status, last := Done, ""
	if _, ok := errors.AsType[*usageError](err); ok {
		status, last = Misuse, fmt.Sprintf("%s: %s; see '%s --help'\n", root.Name(), oneLine(err.Error()), cmd.CommandPath())
	} else if err != nil {
		reason := oneLine(err.Error())
		if interrupted(cmp.Or(cmd.Context(), ctx), err) {
			reason = "interrupted"
		}
		status, last = Failed, fmt.Sprintf("%s: %s\n", root.Name(), reason)
	}
	log, ok := root.ErrOrStderr().(*lineWriter)
	if !ok {
		io.WriteString(stderr, last)
		return status
	}
	// A daemon ends whether or not this is read.
	late, cancel := context.WithTimeout(context.Background(), maxLogWait)
	defer cancel()
	if out, ok := root.OutOrStdout().(*lineWriter); ok {
		out.close("", late.Done())
	}
	log.close(last, late.Done())
	return status
}

// writeManual is set in programs that only write their manual pages; see man.go.
var writeManual func(root *cobra.Command, dir string) error

// Usagef returns an error that makes [Run] return [Misuse]: the program was
// called wrongly. The text need not mention the help; Run adds that.
func Usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// prepare adapts the whole tree to what Run promises.
func prepare(root *cobra.Command, args []string) {
	if root.Version == "" {
		root.Version = Version()
	}
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetUsageTemplate(usageTemplate)
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if c == root && c.HasSubCommands() && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			return chooseCommand(c, args) // the flag belongs to an unknown command
		}
		return Usagef("%w", err)
	})
	if root.HasSubCommands() {
		root.SetHelpCommand(helpCommand())
		root.InitDefaultHelpCmd()
	}
	addCompletion(root)
	prepareTree(root)
}

func prepareTree(c *cobra.Command) {
	nameVariables(c)
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = chooseCommand
		c.SuggestionsMinimumDistance = 2 // letters
	}
	validate := c.Args
	if validate == nil {
		validate = cobra.NoArgs
	}
	// The validator is the first thing to run after flags are parsed.
	c.Args = func(c *cobra.Command, args []string) error {
		if err := setFromEnvironment(c); err != nil {
			return err
		}
		err := validate(c, args)
		if _, ok := errors.AsType[*usageError](err); err != nil && !ok {
			err = Usagef("wrong arguments, the usage is: %s%s", c.CommandPath(), strings.TrimPrefix(c.Use, c.Name()))
		}
		return err
	}
	if names := c.ValidArgsFunction; names != nil {
		c.ValidArgsFunction = func(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			_ = setFromEnvironment(c) // a shell shows no errors
			return names(c, args, prefix)
		}
	}
	if c.Flags().Lookup("discovery") != nil {
		_ = c.RegisterFlagCompletionFunc("discovery", cobra.NoFileCompletions) // fails only if it has one
	}
	for _, sub := range c.Commands() {
		prepareTree(sub)
	}
}

// chooseCommand is RunE of a command that only groups others.
func chooseCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return Usagef("a command is missing")
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return Usagef("unknown command %q, perhaps %s", args[0], strings.Join(near, " or "))
	}
	return Usagef("unknown command %q", args[0])
}

// helpCommand is cobra's, except that it fails for an unknown command.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil || about == nil || len(rest) > 0 {
				return Usagef("no help for %q", strings.Join(args, " "))
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		},
	}
}

const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{- if .HasExample}}

Examples:
{{.Example}}
{{- end}}
{{- if .HasAvailableSubCommands}}

Commands:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}
{{- end}}{{end}}
{{- end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasAvailableInheritedFlags}}

Flags of all commands:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasAvailableSubCommands}}

'{{.CommandPath}} COMMAND --help' says more about a command.
{{- end}}
`
