package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"foyer/internal/namespace"
	"foyer/internal/testenv"
)

// alone is launch without a word about where the registry is.
func (h host) alone(name string, args ...string) *program {
	h.t.Helper()
	dir, err := bin()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	return h.start(cmd)
}

// announce runs a registry and waits until it is announced.
func (h host) announce(world string, args ...string) *program {
	h.t.Helper()
	p := h.alone("registry", append([]string{"serve", "--http", "off", "--world-name", world}, args...)...)
	p.await(h.t, `msg="announced on the local network" world=.* service=_foyer\._udp`)
	return p
}

func (p *program) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	p.ends(t, 0)
}

// fails runs a program that ends with status 1, and returns what it wrote.
func (h host) fails(name string, args ...string) string {
	h.t.Helper()
	p := h.alone(name, args...)
	p.ends(h.t, 1)
	return p.written()
}

// TestRegistryOnTheNetwork plays on a machine that is not told where the registry
// is. A second world there makes it refuse, until that says goodbye.
func TestRegistryOnTheNetwork(t *testing.T) {
	t.Parallel()
	a, b := hosts(t, namespace.Faults{}, 0)
	a.announce("Old Mill", "--listen", ":7666")
	b.alone("roomd", "--north", "Attic", "Hall", "It echoes.").await(t, `^roomd: Hall listening on room://10\.66\.0\.2:\d+$`)
	attic := b.alone("roomd", "--south", "Hall", "Attic", "It is dark.")
	attic.await(t, `world="Old Mill" registry=10\.66\.0\.1:7666`)
	attic.await(t, `^roomd: Attic listening on room://10\.66\.0\.2:\d+$`)
	player := b.alone("playerctl", "Alice", "Hall")
	player.await(t, `^playerctl: in the world "Old Mill", found on the local network at 10\.66\.0\.1:7666$`)
	player.await(t, `^Hall$`)
	fmt.Fprintln(player.stdin, "north")
	player.await(t, `^It is dark\.$`)
	player.stdin.Close()
	player.ends(t, 0)

	// Another registry of the same world is no other world, on whatever address.
	same := a.announce("Old Mill", "--listen", "10.66.0.7:7668", "--store", "same.db")
	b.alone("registry", "lookup", "Hall").ends(t, 0)
	same.stop(t)

	other := b.announce("Salt Works", "--listen", "10.66.0.2:7777")
	const refusal = `several worlds are announced on the local network, --discovery HOST:PORT chooses one: ` +
		`"Old Mill" at 10.66.0.1:7666, "Salt Works" at 10.66.0.2:7777`
	for _, args := range [][]string{{"registry", "lookup", "Hall"}, {"playerctl", "Bob", "Hall"}, {"roomd", "Cellar", "It is damp."}} {
		if got, want := b.fails(args[0], args[1:]...), args[0]+": "+refusal+"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	b.alone("registry", "lookup", "--discovery", "10.66.0.1:7666", "Hall").ends(t, 0)
	other.stop(t)
	b.alone("registry", "lookup", "Hall").ends(t, 0)
}

// An eavesdropper hears what others multicast to its machine.
type eavesdropper struct {
	host
	iface string
	conns map[string]*net.UDPConn // by network
}

var groups = map[string]*net.UDPAddr{
	"udp4": {IP: net.IPv4(224, 0, 0, 251), Port: 5353},
	"udp6": {IP: net.ParseIP("ff02::fb"), Port: 5353},
}

func eavesdrop(t *testing.T, h host, iface string) *eavesdropper {
	e := &eavesdropper{h, iface, map[string]*net.UDPConn{}}
	err := h.Do(func() error {
		i, err := net.InterfaceByName(iface)
		for network, group := range groups {
			if err == nil {
				e.conns[network], err = net.ListenMulticastUDP(network, i, group)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range e.conns {
			c.Close()
		}
	})
	return e
}

// heard returns what another machine has multicast so far: a link keeps the
// order, so the last that it sends is heard after all else.
func (e *eavesdropper) heard(other host, iface string) (packets [][]byte) {
	e.t.Helper()
	last := fmt.Appendf(nil, "the last packet %d", time.Now().UnixNano())
	for network, conn := range e.conns {
		if err := other.Do(func() error { return sendMulticast(network, iface, last) }); err != nil {
			e.t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		for buf := make([]byte, 9000); ; {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				e.t.Fatalf("%s: %v", network, err)
			}
			if bytes.Equal(buf[:n], last) {
				break
			}
			if !e.has(from.Addr().Unmap().WithZone("")) {
				packets = append(packets, bytes.Clone(buf[:n]))
			}
		}
	}
	return packets
}

// await waits for a packet with a PTR record of that ttl.
func (e *eavesdropper) await(ttl uint32) {
	e.t.Helper()
	_ = e.conns["udp4"].SetReadDeadline(time.Now().Add(patience))
	for buf := make([]byte, 9000); ; {
		n, err := e.conns["udp4"].Read(buf)
		if err != nil {
			e.t.Fatalf("waiting for a PTR record with ttl %d: %v", ttl, err)
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) == nil && slices.ContainsFunc(m.Answers, func(r dnsmessage.Resource) bool {
			return r.Header.Type == dnsmessage.TypePTR && r.Header.TTL == ttl
		}) {
			return
		}
	}
}

// TestGoodbyeOfOneOfTwo has two registries of a world, which share the record
// that says that there is such a world. When one of them takes it back the other
// one says it anew.
func TestGoodbyeOfOneOfTwo(t *testing.T) {
	t.Parallel()
	a, b := hosts(t, namespace.Faults{}, 0)
	ears := eavesdrop(t, b, "foyer1")
	a.announce("Old Mill", "--listen", "10.66.0.1:7666")
	one := a.announce("Old Mill", "--listen", "10.66.0.7:7667", "--store", "one.db")
	for range 4 { // each says twice at the start that it is there
		ears.await(120)
	}
	one.stop(t)
	ears.await(0)
	ears.await(120)
}

func sendMulticast(network, iface string, packet []byte) error {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	c, err := net.ListenUDP(network, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if network == "udp4" {
		err = ipv4.NewPacketConn(c).SetMulticastInterface(i)
	} else {
		err = ipv6.NewPacketConn(c).SetMulticastInterface(i)
	}
	if err == nil {
		_, err = c.WriteTo(packet, groups[network])
	}
	return err
}

// has reports whether a is one of the eavesdropper's own addresses.
func (e *eavesdropper) has(a netip.Addr) (own bool) {
	_ = e.Do(func() error {
		i, err := net.InterfaceByName(e.iface)
		if err != nil {
			return err
		}
		addrs, err := i.Addrs()
		own = slices.ContainsFunc(addrs, func(x net.Addr) bool { return strings.HasPrefix(x.String(), a.String()+"/") })
		return err
	})
	return own
}

// TestRegistryOnThisMachine has a registry on the machine and another one on the
// network. Nobody asks the network.
func TestRegistryOnThisMachine(t *testing.T) {
	t.Parallel()
	a, b := hosts(t, namespace.Faults{}, 0)
	ears := eavesdrop(t, b, "foyer1")
	b.announce("Salt Works", "--listen", ":7666")
	own := a.alone("registry", "serve", "--http", "off")
	own.await(t, `^registry: listening on 127\.0\.0\.1:7666$`)
	a.alone("roomd", "Hall", "It echoes.").await(t, `^roomd: Hall listening on room://127\.0\.0\.1:\d+$`)
	player := a.alone("playerctl", "Alice", "Hall")
	player.await(t, `^Hall$`)
	player.stdin.Close()
	player.ends(t, 0)
	a.alone("registry", "lookup", "Hall").ends(t, 0)
	// Nor does a registry on loopback announce itself.
	if packets := ears.heard(a, "foyer0"); len(packets) > 0 {
		t.Errorf("%d packets were multicast, the first is %q", len(packets), packets[0])
	}

	own.stop(t)
	if strings.Contains(own.written(), "announced") {
		t.Errorf("a registry on loopback: %s", own.written())
	}
	if got := a.fails("registry", "lookup", "Hall"); !strings.Contains(got, `no room of the name "Hall" is registered`) {
		t.Errorf("without the registry on the machine: %s", got)
	}
	packets := ears.heard(a, "foyer0")
	if len(packets) == 0 {
		t.Error("the network was not asked either when it should have been")
	}
	for _, p := range packets {
		var m dnsmessage.Message
		if err := m.Unpack(p); err != nil || m.Response || len(m.Questions) != 1 || m.Questions[0].Name.String() != "_foyer._udp.local." {
			t.Errorf("asked with %v, %v", m, err)
		}
	}
}

// TestNoRegistryOnTheNetwork tries what is not announced.
func TestNoRegistryOnTheNetwork(t *testing.T) {
	t.Parallel()
	a, b := hosts(t, namespace.Faults{}, 0)
	ears := eavesdrop(t, b, "foyer1")
	registry := a.alone("registry", "serve", "--http", "off", "--listen", ":7666", "--announce", "off")
	registry.await(t, `^registry: listening on .*:7666$`)
	for _, args := range [][]string{{"registry", "lookup", "Hall"}, {"playerctl", "Alice", "Hall"}, {"roomd", "Hall", "It echoes."}} {
		want := args[0] + ": registry 127.0.0.1:7666 did not answer within 5 seconds; --discovery HOST:PORT asks another\n"
		if got := b.fails(args[0], args[1:]...); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	registry.stop(t)
	if packets := ears.heard(a, "foyer0"); len(packets) > 0 {
		t.Errorf("%d packets were multicast, the first is %q", len(packets), packets[0])
	}
}

// TestNotAnnounced has another program hold the port of multicast DNS for itself.
// That is a warning.
func TestNotAnnounced(t *testing.T) {
	t.Parallel()
	a, b := hosts(t, namespace.Faults{}, 0)
	for _, network := range []string{"udp4", "udp6"} {
		var c *net.UDPConn
		err := a.Do(func() (err error) {
			c, err = net.ListenUDP(network, &net.UDPAddr{Port: 5353})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	registry := a.alone("registry", "serve", "--http", "off", "--listen", ":7666")
	registry.await(t, `level=WARN msg="not announced on the local network" error=.*address already in use`)
	b.launch("roomd", "Hall", "It echoes.").await(t, `^roomd: Hall listening on `)
	registry.stop(t)
	if n := strings.Count(registry.written(), "WARN"); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

// avahi starts a D-Bus and an avahi-daemon on the machine, and returns how to run
// its tools.
func (h host) avahi(t *testing.T) (tool func(name string, args ...string) *exec.Cmd) {
	t.Helper()
	for _, name := range []string{"avahi-daemon", "avahi-browse", "avahi-publish", "dbus-daemon"} {
		if _, err := exec.LookPath(name); err != nil {
			testenv.NotRun(t, "%v", err)
		}
	}
	dir, err := os.MkdirTemp("", "foyer-avahi-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address := "unix:path=" + dir + "/bus"
	for name, text := range map[string]string{
		"bus.conf": `<busconfig><type>system</type><listen>` + address + `</listen><auth>EXTERNAL</auth>
			<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>`,
		"avahi.conf": "[server]\nhost-name=foyer-test\nuse-ipv4=yes\nuse-ipv6=yes\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tool = func(name string, args ...string) *exec.Cmd {
		c := exec.Command(name, args...)
		c.Env = []string{"PATH=" + os.Getenv("PATH"), "DBUS_SYSTEM_BUS_ADDRESS=" + address}
		return c
	}
	h.start(tool("dbus-daemon", "--config-file="+dir+"/bus.conf", "--nofork", "--nopidfile", "--print-address")).await(t, `^unix:path=`)
	// Its socket and process number are in places of this test's own.
	h.start(tool("unshare", "--mount", "sh", "-c", `mount -t tmpfs tmpfs /run && mkdir /run/avahi-daemon &&
		exec avahi-daemon -f "$0" --no-drop-root --no-chroot --no-rlimits`, dir+"/avahi.conf")).await(t, `^Server startup complete\.`)
	return tool
}

// TestAvahi has a registry browsed for by avahi-browse, and finds one that avahi
// announces.
func TestAvahi(t *testing.T) {
	t.Parallel()
	a, b := hosts(t, namespace.Faults{}, 0)
	tool := b.avahi(t)
	browse := func() string {
		p := b.start(tool("avahi-browse", "--resolve", "--parsable", "--terminate", "_foyer._udp"))
		p.ends(t, 0)
		return p.written()
	}
	mill := a.announce("Old Mill", "--listen", ":7666")
	works := a.announce("Salt Works", "--listen", "10.66.0.1:7777", "--store", "works.db")
	text := browse()
	for _, want := range []string{
		`=;foyer1;IPv4;Old\032Mill;_foyer._udp;local;foyer-`, `;7666;"world=Old Mill" "txtvers=1"`,
		`=;foyer1;IPv4;Salt\032Works;_foyer._udp;local;foyer-`, `.local;10.66.0.1;7777;"world=Salt Works" "txtvers=1"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("avahi-browse does not show %s but:\n%s", want, text)
		}
	}
	works.stop(t)
	for deadline := time.Now().Add(patience); strings.Contains(text, "Works"); text = browse() {
		if time.Now().After(deadline) {
			t.Fatalf("avahi-browse still shows, after the goodbye:\n%s", text)
		}
	}
	if !strings.Contains(text, "Mill") {
		t.Errorf("the other one is gone as well:\n%s", text)
	}
	mill.stop(t)

	b.alone("registry", "serve", "--http", "off", "--listen", ":7666", "--announce", "off").await(t, `^registry: listening on `)
	b.alone("roomd", "Hall", "It echoes.").await(t, `^roomd: Hall listening on `)
	b.start(tool("avahi-publish", "--service", "Wind Mill", "_foyer._udp", "7666", "txtvers=1", "world=Windmill")).await(t, `^Established under name `)
	player := a.alone("playerctl", "Alice", "Attic")
	player.ends(t, 1)
	if got := player.written(); !strings.Contains(got, `in the world "Windmill", found on the local network at 10.66.0.2:7666`) || !strings.Contains(got, "no room called Attic is registered") {
		t.Errorf("got %s", got)
	}
}
