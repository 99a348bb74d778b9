package command

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// DefaultDiscovery is where programs look for the registry unless they are
// told otherwise.
const DefaultDiscovery = "127.0.0.1:7666"

// DiscoveryFlag adds --discovery: the registries to ask, in order, each as
// host:port. The list is never empty, and its entries are well formed.
func DiscoveryFlag(flags *pflag.FlagSet) *[]string {
	list := &hostPorts{DefaultDiscovery}
	flags.Var(list, "discovery", "where the registry is; several are tried in turn")
	return (*[]string)(list)
}

// AskElsewhere adds to err, which says that a registry is silent, what to do
// about it.
func AskElsewhere(err error) error {
	return fmt.Errorf("%w; --discovery HOST:PORT asks another", err)
}

// PlainFlag adds --plain: send no tags, even if the peer understands them.
func PlainFlag(flags *pflag.FlagSet) *bool {
	return flags.Bool("plain", false, "use the plain dialect only")
}

// hostPorts is a flag's value: one or more host:port, separated by commas.
type hostPorts []string

func (l *hostPorts) Type() string   { return "HOST:PORT[,...]" }
func (l *hostPorts) String() string { return strings.Join(*l, ",") }

func (l *hostPorts) Set(s string) error {
	var list []string
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if err := checkHostPort(part); err != nil {
			return err
		}
		list = append(list, part)
	}
	*l = list
	return nil
}

func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	switch n, numErr := strconv.ParseUint(port, 10, 16); {
	case err != nil:
		return fmt.Errorf("%q is not of the form host:port", s)
	case host == "":
		return fmt.Errorf("%q names no host", s)
	case numErr != nil || n == 0:
		return errors.New("the port is not a number from 1 to 65535")
	}
	return nil
}
