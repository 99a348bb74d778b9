package command

import (
	"cmp"
	"runtime/debug"
)

// Version returns what the Go toolchain recorded of the program: the version of
// its module, which is the tag of the commit that it was built from or else a
// pseudo-version of that commit, "(devel)" if neither is known, and the toolchain.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return cmp.Or(info.Main.Version, "(devel)") + " " + info.GoVersion
}
