package command

import (
	"cmp"
	"runtime/debug"
)

// Version returns what the Go toolchain recorded about the program: the version
// of its module, which is the tag of the commit that it was built from or else
// a pseudo-version, "(devel)" if there is none, and the version of Go.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return cmp.Or(info.Main.Version, "(devel)") + " " + info.GoVersion
}
