package command

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"foyer/internal/exchange"
)

// DefaultDiscovery is where programs look for the registry unless they are
// told otherwise.
const DefaultDiscovery = "127.0.0.1:7666"

// DiscoveryFlag adds --discovery: the registries to ask, each as host:port, any
// of one world. The list is never empty, and its entries are well formed.
func DiscoveryFlag(flags *pflag.FlagSet) *[]string {
	list := &hostPorts{DefaultDiscovery}
	flags.Var(list, "discovery", "where the registry is; of several, up to 16 of one world, the one that answers best is asked")
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
		if _, _, err := exchange.SplitHostPort(part); err != nil {
			return err
		}
		list = append(list, part)
	}
	if len(list) > exchange.MaxRegistries {
		return fmt.Errorf("%d registries are more than %d", len(list), exchange.MaxRegistries)
	}
	*l = list
	return nil
}
