package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"foyer"
	"foyer/admin"
	"foyer/discovery"
	"foyer/internal/command"
	"foyer/internal/udp"
	"foyer/storage/bolt"
)

type serveOptions struct {
	listen     string
	http       string
	token      string // the file
	pprof      bool
	authorized string
	addresses  string
	maxNames   int
	announce   string
	world      string
	store      *storeFlag
	backups    backups
	dns        dnsOptions
	log        *slog.Logger
	admin      *admin.Admin
}

func serveCommand() *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use:   "serve",
		Short: "Answer rooms and players over UDP",
		Long: `Answer rooms and players over UDP until SIGINT or SIGTERM.

When it is ready it prints the addresses that it listens on to standard output,
one per line; what happens is logged to standard error. On SIGHUP it rereads the
files of --authorized-keys and --admin-token-file, if there are any, and goes on.

With --http it serves an API, metrics and a page over HTTP to whoever reaches it,
and changes what it is told to by whoever has the token of --admin-token-file, as
"Authorization: Bearer TOKEN". Without a token, on loopback only, nobody can
change anything there. The same is served on the Unix socket beside the database,
for the user who owns that, and there without a token.

With --dns and --domain it also answers for its rooms as a name server for that
domain, over UDP and TCP: "dig @ADDR SRV living_-room.rooms.example" asks where the
room "living room" is. docs/dns.md says how names are written there.`,
	}
	c.Flags().StringVar(&o.listen, "listen", "127.0.0.1:7666", `where to answer over UDP; ":7666" means every address of the machine, and port 0 lets the system choose`)
	c.Flags().StringVar(&o.http, "http", "127.0.0.1:7667", `where to serve the HTTP interface, or "off"; beyond loopback it needs --admin-token-file`)
	c.Flags().StringVar(&o.token, "admin-token-file", "", "a file with the token that lets HTTP requests change something: a line of 16 characters or more")
	c.Flags().BoolVar(&o.pprof, "pprof", false, "serve profiles of the process under /debug/pprof/ of the HTTP interface")
	c.Flags().StringVar(&o.authorized, "authorized-keys", "", "let only these keys register: a file with one key per line")
	c.Flags().StringVar(&o.addresses, "addresses", "own", `whose IP addresses a host may register: its "own", or "any"`)
	c.Flags().IntVar(&o.maxNames, "max-names-per-host", discovery.DefaultMaxNamesPerHost, "how many rooms a host may have registered; loopback addresses and authorized keys are exempt")
	c.Flags().StringVar(&o.announce, "announce", "on", `whether to announce the registry on the local network, by multicast DNS: "on", which does so where it listens beyond loopback, or "off"`)
	c.Flags().StringVar(&o.world, "world-name", "", "the `NAME` under which it is announced (default: the host's name)")
	o.store = addStoreFlag(c.Flags())
	o.backups.addFlags(c.Flags())
	o.dns.addFlags(c.Flags())
	logging := command.LogFlags(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		o.log = command.NewLogger(c, logging)
		return serve(c.Context(), &o, c.OutOrStdout())
	}
	return c
}

// serve opens everything that can fail before it answers anybody, and closes it
// in the opposite order.
func serve(ctx context.Context, o *serveOptions, stdout io.Writer) (err error) {
	hangups := catchHangups()
	if err := checkAddress("listen", o.listen); err != nil {
		return err
	}
	token, err := o.checkHTTP()
	if err != nil {
		return err
	}
	if o.addresses != "own" && o.addresses != "any" {
		return command.Usagef("invalid value %q for --addresses: it is own or any", o.addresses)
	}
	if err := errors.Join(o.backups.check(), o.dns.check()); err != nil {
		return err
	}
	if o.maxNames < 1 {
		return command.Usagef("invalid value %d for --max-names-per-host: it is at least 1", o.maxNames)
	}
	if err := o.checkAnnounce(); err != nil {
		return err
	}
	var keys []foyer.Key
	if o.authorized != "" {
		if keys, err = readKeys(o.authorized); err != nil {
			return err
		}
	}
	// If both fail, the store's error says more; but no file is created for a
	// server that cannot listen, or in place of one that was removed.
	conns, public, listenErr := o.open()
	if listenErr == nil {
		defer closeAll(conns, public)
		if listenErr = o.dns.open(); listenErr == nil {
			defer o.dns.close()
		}
	}
	if _, err := os.Stat(o.store.path); err != nil {
		if err := errors.Join(listenErr, checkSocket(o.store.socket())); err != nil {
			return err
		}
	}
	began := time.Now()
	store, err := bolt.Open(o.store.file(), nil)
	if err != nil {
		return o.store.hint(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if listenErr != nil {
		return listenErr
	}
	loaded := time.Since(began).Round(time.Millisecond)

	socket, err := listenSocket(o.store.socket())
	if err != nil {
		return fmt.Errorf("the admin socket: %w", err)
	}
	defer socket.Close()
	server := discovery.New(store, discovery.Options{
		Log: o.log, AnyAddress: o.addresses == "any", MaxNamesPerHost: o.maxNames,
	})
	if o.authorized != "" {
		server.AuthorizeOnly(keys)
	}
	copies := newCopier(store, o.store.file())
	adminOptions := admin.Options{
		Log: o.log, Version: command.Version(), Listen: addresses(conns), Host: hostName(o.http), Pprof: o.pprof,
		Store: func() admin.Store { return usage(store, o.store) }, Copier: copies,
	}
	if o.backups.dir != "" {
		adminOptions.Backup = o.backups.status
	}
	if o.dns.listen != "" {
		if err := o.dns.new(store, server, o.log); err != nil {
			return err
		}
		adminOptions.DNS = o.dns.server.Queries
	}
	o.admin = admin.New(ctx, server, store, adminOptions)
	o.admin.SetToken(token)
	go o.rereadAt(ctx, hangups, server)
	stopBackups := o.backups.start(ctx, copies, o.log)
	defer stopBackups()

	fmt.Fprintf(stdout, "registry: listening on %s\n", conns[0].LocalAddr())
	if public != nil {
		fmt.Fprintf(stdout, "registry: http on %s\n", public.Addr())
	}
	if o.dns.server != nil {
		fmt.Fprintf(stdout, "registry: dns on %s for %s\n", o.dns.tcp.Addr(), o.dns.domain)
	}
	o.log.Info("serving", "listen", conns[0].LocalAddr(), "store", o.store.path, "rooms", store.Len(), "loaded", loaded)
	defer o.startAnnouncing(ctx, conns[0].LocalAddr())()
	// Nothing may come between these and Serve: /healthz is for a registry that
	// answers.
	defer admin.Serve(socket, o.admin.Handler(), o.log)()
	if public != nil {
		defer admin.Serve(public, o.admin.Public(), o.log)()
	}
	ctx, stopDNS := o.dns.start(ctx)
	command.NotifyReady(ctx, server.Ping)
	err = errors.Join(server.Serve(ctx, conns...), stopDNS())
	o.log.Info("stopped", "rooms", store.Len())
	return err
}

// open opens the network sockets; public is nil with --http off.
func (o *serveOptions) open() (conns []udp.Conn, public net.Listener, err error) {
	if conns, err = udp.ListenServer(o.listen, runtime.GOMAXPROCS(0)); err != nil || o.http == "off" {
		return conns, nil, err
	}
	if public, err = net.Listen("tcp", o.http); err != nil {
		closeAll(conns, nil)
	}
	return conns, public, err
}

func closeAll(conns []udp.Conn, public net.Listener) {
	for _, c := range conns {
		c.Close()
	}
	if public != nil {
		public.Close()
	}
}

// checkAddress tells a wrong flag from an address that is not available.
func checkAddress(flag, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("udp", port)
	}
	if err != nil {
		return command.Usagef("invalid value %q for --%s: not of the form host:port with a port up to 65535", address, flag)
	}
	return nil
}

// readKeys reads a file of public keys as roomd prints them, one per line. What
// follows a space or a "#" is a comment.
func readKeys(path string) ([]foyer.Key, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	keys := []foyer.Key{}
	in := bufio.NewScanner(f)
	for n := 1; in.Scan(); n++ {
		text, _, _ := strings.Cut(in.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		key, err := foyer.ParseKey(fields[0])
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		keys = append(keys, key)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}
