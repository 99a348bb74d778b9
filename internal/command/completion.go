package command

import (
	"io"
	"slices"

	"github.com/spf13/cobra"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

// addCompletion adds the command completion, which prints a script for a shell.
// A program without subcommands, which takes names as arguments, has it too: a
// name that is the word completion goes after "--".
func addCompletion(root *cobra.Command) {
	if root.HasSubCommands() {
		root.AddCommand(&cobra.Command{
			Use:       "completion bash|zsh|fish|powershell",
			Short:     "Print a shell completion script",
			Hidden:    true,
			ValidArgs: shells,
			Args:      func(_ *cobra.Command, args []string) error { return checkShell(args) },
			RunE: func(c *cobra.Command, args []string) error {
				return printCompletion(root, args[0], c.OutOrStdout())
			},
		})
		return
	}
	validate, run := root.Args, root.RunE
	if validate == nil {
		validate = cobra.NoArgs
	}
	root.Args = func(c *cobra.Command, args []string) error {
		if isCompletion(c, args) {
			return checkShell(args[1:])
		}
		return validate(c, args)
	}
	root.RunE = func(c *cobra.Command, args []string) error {
		if isCompletion(c, args) {
			return printCompletion(root, args[1], c.OutOrStdout())
		}
		return run(c, args)
	}
}

func isCompletion(c *cobra.Command, args []string) bool {
	return len(args) > 0 && args[0] == "completion" && c.ArgsLenAtDash() != 0
}

func checkShell(args []string) error {
	if len(args) != 1 || !slices.Contains(shells, args[0]) {
		return Usagef("completion takes one of bash, zsh, fish and powershell; a room or player of that name goes after --")
	}
	return nil
}

func printCompletion(root *cobra.Command, shell string, w io.Writer) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	}
	return root.GenPowerShellCompletionWithDesc(w)
}
