//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"foyer/internal/workbench"
)

// dnsServer is a peer that answers SRV questions from a zone file. config is its
// configuration, with PORT, DIR and ZONE (a file) to be filled in; args start it
// in the foreground, CONFIG standing for the configuration's path.
func dnsServer(name, program string, version []string, config string, args ...string) peer {
	return peer{
		name:    name,
		program: program,
		version: version,
		start: func(ctx context.Context, s *stage, r *rooms) (*process, error) {
			port, err := freePort()
			if err != nil {
				return nil, err
			}
			path := filepath.Join(s.dir, program+".conf")
			text := strings.NewReplacer("PORT", port, "DIR", s.dir, "ZONE", r.zone).Replace(config)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				return nil, err
			}
			words := make([]string, len(args))
			for i, a := range args {
				words[i] = strings.ReplaceAll(a, "CONFIG", path)
			}
			p, err := s.start(port, program, words...)
			if err != nil {
				return nil, err
			}
			return p, p.ready(ctx, func(ctx context.Context) error { return checkDNS(ctx, p, r.count-1) })
		},
		works: dnsWorks(name),
	}
}

func dnsWorks(name string) []work {
	return []work{
		{table: lookups, name: name + ", SRV (dnsperf)", run: dnsperf},
		{table: lookups, name: name + ", SRV (asked as the registry is)", run: asking("dns", few, 1)},
		{table: lookups256, name: name + ", SRV (asked as the registry is)", run: asking("dns", many, 1)},
	}
}

func nsd() peer {
	return dnsServer("NSD", "nsd", []string{"-v"}, `server:
	server-count: 1
	ip-address: 127.0.0.1@PORT
	username: ""
	database: ""
	zonesdir: "DIR"
	pidfile: "DIR/nsd.pid"
	xfrdfile: "DIR/nsd.xfrd"
	zonelistfile: "DIR/nsd.zones"
	xfrdir: "DIR"
	rrl-ratelimit: 0 # by default one who asks more than 200 times a second is slowed down
remote-control:
	control-enable: no
zone:
	name: `+domain+`
	zonefile: ZONE
`, "-d", "-c", "CONFIG")
}

func knot() peer {
	return dnsServer("Knot", "knotd", []string{"--version"}, `server:
    listen: 127.0.0.1@PORT
    rundir: "DIR"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "DIR/knot"
log:
  - target: stderr
    any: warning
zone:
  - domain: `+domain+`
    file: "ZONE"
    zonefile-sync: -1
    journal-content: none
`, "-c", "CONFIG")
}

func coreDNS() peer {
	return dnsServer("CoreDNS", "coredns", []string{"-version"}, domain+`:PORT {
	bind 127.0.0.1
	file ZONE
}
`, "-conf", "CONFIG")
}

// checkDNS asks for a room and looks whether the port is right.
func checkDNS(ctx context.Context, p *process, n uint64) error {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, p.addr())
	}}
	_, records, err := resolver.LookupSRV(ctx, "", "", roomName(n)+"."+domain+".")
	if err != nil {
		return err
	}
	if _, port := hostPort(n); len(records) != 1 || strconv.Itoa(int(records[0].Port)) != port {
		return fmt.Errorf("room %d is not at port %s: %v", n, port, records)
	}
	return nil
}

var (
	dnsRate     = regexp.MustCompile(`Queries per second: +([0-9.]+)`)
	dnsAnswered = regexp.MustCompile(`Queries completed: +([0-9]+)`)
	dnsLost     = regexp.MustCompile(`Queries lost: +([0-9]+)`)
	dnsCodes    = regexp.MustCompile(`Response codes: +(.*)`)
	dnsLatency  = regexp.MustCompile(`Average Latency \(s\): +([0-9.]+)`)
)

// dnsperf asks for the rooms, one after the other (their order is random
// already). It tells the average latency only.
func dnsperf(ctx context.Context, s *stage, p *process, r *rooms) (*workbench.Result, error) {
	c := exec.CommandContext(ctx, "dnsperf", "-s", "127.0.0.1", "-p", p.port, "-d", r.queries,
		"-q", "256", "-c", "16", "-T", "1", "-b", "1024", "-l", fmt.Sprintf("%.0f", max(1, s.seconds)), "-t", "1")
	text, err := runText(c)
	if err != nil {
		return nil, err
	}
	found := map[*regexp.Regexp]string{}
	for _, e := range []*regexp.Regexp{dnsRate, dnsAnswered, dnsLost, dnsCodes, dnsLatency} {
		m := e.FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("dnsperf printed no %q: %s", e, text)
		}
		found[e] = strings.TrimSpace(m[1])
	}
	if codes := found[dnsCodes]; !strings.HasPrefix(codes, "NOERROR") || !strings.HasSuffix(codes, "(100.00%)") {
		return nil, fmt.Errorf("answers: %s", codes)
	}
	number := func(e *regexp.Regexp) float64 {
		v, _ := strconv.ParseFloat(found[e], 64) // the expression lets only numbers through
		return v
	}
	return &workbench.Result{
		PerSecond: number(dnsRate), Requests: number(dnsAnswered), Lost: number(dnsLost),
		Latency: map[string]float64{"mean": number(dnsLatency) * 1e6},
	}, nil
}

// runText runs a load tool that prints text.
func runText(c *exec.Cmd) (string, error) {
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	err := workbench.Start(c, workbench.LoadCPU)
	if err == nil {
		err = c.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", c.Args[0], err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}
