package command

import (
	"runtime/debug"
	"strings"
)

// Version returns the version that the program was built from, as the Go
// toolchain recorded it: a module version, or the commit of the working tree,
// and the toolchain.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return describe(info)
}

func describe(info *debug.BuildInfo) string {
	version := info.Main.Version
	if version == "" || version == "(devel)" {
		version = "devel"
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				version += "-" + s.Value[:min(12, len(s.Value))]
			case s.Key == "vcs.modified" && s.Value == "true":
				version += "+dirty"
			}
		}
	}
	return strings.Join([]string{version, info.GoVersion}, " ")
}
