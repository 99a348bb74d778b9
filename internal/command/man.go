//go:build manpages

package command

import (
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// With the build tag manpages, which only `make dist` uses, a program writes its
// manual pages into the folder that is its argument, and does nothing else. So
// the programs that people use need neither a word for it nor the library. The
// pages' date is that of SOURCE_DATE_EPOCH.
func init() {
	writeManual = func(root *cobra.Command, dir string) error {
		root.DisableAutoGenTag = true
		return doc.GenManTree(root, &doc.GenManHeader{
			Section: "1", Manual: "Foyer", Source: "Foyer",
		}, dir)
	}
}
