package dnssd

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// maxRegistries and maxWorlds bound what Browse returns. What came first
	// counts: somebody who floods the network can keep others from being found,
	// and no more.
	maxRegistries = 64
	maxWorlds     = 16

	// maxPackets bounds what one socket reads during a Browse.
	maxPackets = 1024
)

// asked are the times of the questions, from the beginning: packets get lost.
var asked = []time.Duration{0, 250 * time.Millisecond}

// Browse asks all links for registries and returns those that have answered when
// ctx ends, sorted by world and address. Its error says why nobody could be asked.
//
// Answers count only if they are unicast to the socket that has asked, bear the
// query's id, come from a host on a link, and name an address on a link.
func Browse(ctx context.Context) ([]Registry, error) {
	on, err := links()
	if err != nil {
		return nil, err
	}
	if len(on) == 0 {
		return nil, errors.New("no network interface to ask on")
	}
	sockets, err := open(false)
	if err != nil {
		return nil, err
	}
	q := question(uint16(rand.Uint32()))
	packet, err := q.Pack()
	if err != nil {
		return nil, err
	}
	b := browser{id: q.ID, links: on}
	var reading sync.WaitGroup
	for _, s := range sockets {
		reading.Go(func() { b.read(s) })
	}
	sent, err := ask(ctx, sockets, on, packet)
	if sent {
		<-ctx.Done()
		err = nil
	}
	for _, s := range sockets {
		s.Close()
	}
	reading.Wait()
	slices.SortFunc(b.found, Registry.compare)
	return b.found, err
}

func question(id uint16) *dnsmessage.Message {
	return &dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(serviceName), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}},
	}
}

// ask sends the question, again and again until ctx ends, and reports whether it
// could be sent at all.
func ask(ctx context.Context, sockets []*socket, on []link, packet []byte) (sent bool, err error) {
	begin := time.Now()
	for _, at := range asked {
		select {
		case <-ctx.Done():
			return sent, err
		case <-time.After(at - time.Since(begin)):
		}
		for _, s := range sockets {
			for i := range on {
				if e := s.multicast(&on[i], packet); e != nil {
					err = e
				} else {
					sent = true
				}
			}
		}
	}
	return sent, err
}

// A browser collects answers.
type browser struct {
	id    uint16
	links []link

	mu    sync.Mutex
	found []Registry
}

func (b *browser) reaches(a netip.Addr) bool {
	return slices.ContainsFunc(b.links, func(l link) bool { return l.reaches(a) })
}

// read reads until the socket is closed.
func (b *browser) read(s *socket) {
	buf := make([]byte, maxPacket)
	for range maxPackets {
		n, from, err := s.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if from.Port() == port && b.reaches(from.Addr()) {
			b.add(parseAnswer(buf[:n], b.id, b.reaches))
		}
	}
}

func (b *browser) add(registries []Registry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range registries {
		if len(b.found) < maxRegistries && !slices.Contains(b.found, r) {
			b.found = append(b.found, r)
			if len(Worlds(b.found)) > maxWorlds {
				b.found = b.found[:len(b.found)-1]
			}
		}
	}
}

// Worlds returns the names of the registries' worlds, each once, in their order.
func Worlds(registries []Registry) (names []string) {
	for _, r := range registries {
		if !slices.Contains(names, r.World) {
			names = append(names, r.World)
		}
	}
	return names
}
