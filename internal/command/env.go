package command

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Variable returns the environment variable that gives a flag its value:
// FOYER_ and the flag's name in capitals, with underscores for dashes.
func Variable(flag string) string {
	return "FOYER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// nameVariables adds to each flag's help the variable that sets it. The flags
// --help and --version, which cobra adds later, have none.
func nameVariables(c *cobra.Command) {
	const named = "foyer-variable"
	name := func(f *pflag.Flag) {
		if f.Annotations[named] != nil {
			return // a flag may be in both sets
		}
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[named] = []string{Variable(f.Name)}
		f.Usage += " [$" + Variable(f.Name) + "]"
	}
	c.Flags().VisitAll(name)
	c.PersistentFlags().VisitAll(name)
}

func setFromEnvironment(c *cobra.Command) error {
	var first error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if first != nil || f.Changed || f.Name == "help" || f.Name == "version" {
			return
		}
		value := os.Getenv(Variable(f.Name))
		if value == "" {
			return // compose files and units pass unset variables as empty ones
		}
		if err := c.Flags().Set(f.Name, value); err != nil {
			if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
				err = invalid.Unwrap()
			}
			first = Usagef("invalid value %q of the environment variable %s: %w", value, Variable(f.Name), err)
		}
	})
	return first
}
