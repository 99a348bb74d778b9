// Command server is an etcd server, for tests: https://etcd.io. It is in a module of its own, so
// that the programs that are tested do not depend on it.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
