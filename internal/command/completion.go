package command

import (
	"bytes"
	"io"
	"slices"
	"strings"

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
	var script bytes.Buffer
	var err error
	switch shell {
	case "bash":
		err = root.GenBashCompletionV2(&script, true)
	case "zsh":
		err = root.GenZshCompletion(&script)
	case "fish":
		err = root.GenFishCompletion(&script, true)
	default:
		err = root.GenPowerShellCompletionWithDesc(&script)
	}
	if err != nil {
		return err
	}
	_, err = w.Write([]byte(forNames.Replace(script.String())))
	return err
}

// forNames mends cobra's scripts for names with spaces and quotes. In bash what several
// of them have in common was inserted without escapes; fish passed on the escapes of what
// was typed.
var forNames = strings.NewReplacer(
	`        if (( ${#COMPREPLY[@]} == 1 )); then
            COMPREPLY[0]=$(printf "%q" "${COMPREPLY[0]}")
        fi
`, `        if (( ${#COMPREPLY[@]} > 0 )); then
            IFS=$'\n' read -ra COMPREPLY -d '' < <(printf "%q\n" "${COMPREPLY[@]}")
        fi
`,
	`(string escape -- (commandline -ct))`, `(string escape -- (string unescape -- (commandline -ct); or echo))`,
)
