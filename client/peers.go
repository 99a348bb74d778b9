package client

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"foyer/internal/exchange"
)

// A registry is one of Options.Registries.
type registry struct {
	spec string         // as it was given
	addr netip.AddrPort // if the host is an IP address, else invalid
}

func parseRegistry(spec string) (registry, error) {
	host, port, err := exchange.SplitHostPort(spec)
	if err != nil {
		return registry{}, fmt.Errorf("the registry %q: %w", spec, err)
	}
	r := registry{spec: spec}
	if ip, err := netip.ParseAddr(host); err == nil {
		r.addr = netip.AddrPortFrom(ip.Unmap(), port)
	}
	return r, nil
}

// A resolution is the DNS's answer for a registry's host.
type resolution struct {
	addrs []netip.AddrPort
	until time.Time // when to ask again
}

// resolutions are the last ones, by registry; no more than there are
// registries.
type resolutions map[string]resolution

const (
	// resolutionAge is how long a resolution is used without asking again. The
	// resolver does not reveal the record's time to live.
	resolutionAge = 30 * time.Second

	// resolutionGrace is how long resolving other registries may take once one
	// can be asked.
	resolutionGrace = 500 * time.Millisecond
)

// peers returns the addresses of the registries, at most maxRegistries: the first
// one of each name before the second one of any, so that other machines come
// before other addresses of the same one. Its error is that of ask.
func (c *Client) peers(ctx context.Context) ([]netip.AddrPort, error) {
	if len(c.registries) == 0 {
		return nil, ErrNoRegistry
	}
	var (
		found   = make([][]netip.AddrPort, len(c.registries))
		missing []int
		older   bool // one of those has been resolved before
	)
	c.mu.Lock()
	for i, r := range c.registries {
		if r.addr.IsValid() {
			found[i] = []netip.AddrPort{r.addr}
		} else if known := c.addresses[r.spec]; time.Now().Before(known.until) {
			found[i] = known.addrs
		} else {
			missing = append(missing, i)
			older = older || len(known.addrs) > 0
		}
	}
	c.mu.Unlock()
	if len(missing) == 0 {
		return flatten(found), nil
	}
	resolving, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	var first sync.Once
	hurry := func() { first.Do(func() { time.AfterFunc(resolutionGrace, cancel) }) }
	if older || len(missing) < len(found) {
		hurry()
	}
	errs := make([]error, len(c.registries))
	var asking sync.WaitGroup
	for _, i := range missing { // at most maxRegistries goroutines
		asking.Go(func() {
			if found[i], errs[i] = c.resolve(resolving, c.registries[i]); errs[i] == nil {
				hurry()
			}
		})
	}
	asking.Wait()
	if c.life.Err() != nil {
		return nil, errClosed
	}
	addrs := flatten(found)
	if len(addrs) > 0 {
		return addrs, nil
	}
	err := errs[missing[0]]
	if ctx.Err() != nil {
		return nil, c.noAnswer(ctx, err)
	}
	return nil, &NoAnswerError{Peer: c.names(), Err: err}
}

// resolve asks the DNS. If that fails, an older answer is better than none.
func (c *Client) resolve(ctx context.Context, r registry) ([]netip.AddrPort, error) {
	addrs, err := exchange.LookupHost(ctx, c.resolver, r.spec, maxRegistries)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return c.addresses[r.spec].addrs, err
	}
	c.addresses[r.spec] = resolution{addrs, time.Now().Add(resolutionAge)}
	return addrs, nil
}

func flatten(found [][]netip.AddrPort) (addrs []netip.AddrPort) {
	for i, more := 0, true; more; i++ {
		more = false
		for _, f := range found {
			if i >= len(f) {
				continue
			}
			more = true
			if len(addrs) < maxRegistries && !slices.Contains(addrs, f[i]) {
				addrs = append(addrs, f[i])
			}
		}
	}
	return addrs
}

// several reports whether there is more than one registry, as far as names have
// been resolved.
func (c *Client) several() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	addresses := 0
	for _, r := range c.addresses {
		addresses = max(addresses, len(r.addrs))
	}
	return len(c.registries) > 1 || addresses > 1
}

// resolveAnew makes the next request resolve all names: no registry answers, so
// they may have moved.
func (c *Client) resolveAnew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for spec, r := range c.addresses {
		c.addresses[spec] = resolution{addrs: r.addrs}
	}
}

// names says who is asked, for people.
func (c *Client) names() string {
	specs := make([]string, len(c.registries))
	for i, r := range c.registries {
		specs[i] = r.spec
	}
	if len(specs) == 1 {
		return "registry " + specs[0]
	}
	return "registries " + strings.Join(specs, ", ")
}

// A dialect is what is known about a registry's dialect.
type dialect struct {
	tags  bool
	plain time.Time // until when it is assumed to speak only the plain dialect
}

const (
	// maxDialects bounds the table. An arbitrary entry makes room for a new
	// one; the dialect of that registry is then found out again.
	maxDialects = 256

	// plainFor is how long a registry is asked in the plain dialect before tags
	// are tried again; it may have been upgraded.
	plainFor = 10 * time.Minute
)

// dialects has an entry for every registry that was asked recently.
type dialects map[netip.AddrPort]dialect

func (d dialects) set(peer netip.AddrPort, to dialect) {
	if _, known := d[peer]; !known && len(d) >= maxDialects {
		for other := range d {
			delete(d, other)
			break
		}
	}
	d[peer] = to
}

// asked records that peer was sent a tagged request.
func (d dialects) asked(peer netip.AddrPort) {
	if _, known := d[peer]; !known {
		d.set(peer, dialect{})
	}
}

func (d dialects) isPlain(peer netip.AddrPort, now time.Time) bool {
	return now.Before(d[peer].plain)
}

// answeredPlain records an untagged datagram and reports whether it shows for
// the first time that peer speaks only the plain dialect. It does not if peer
// was never asked, or has ever answered with tags.
func (d dialects) answeredPlain(peer netip.AddrPort, now time.Time) bool {
	known, asked := d[peer]
	if !asked || known.tags || now.Before(known.plain) {
		return false
	}
	d.set(peer, dialect{plain: now.Add(plainFor)})
	return true
}

// answeredTags records the reply to a tagged request.
func (d dialects) answeredTags(peer netip.AddrPort) { d.set(peer, dialect{tags: true}) }
