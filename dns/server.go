package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"foyer"
	"foyer/internal/udp"
	"foyer/storage"
)

// A Registry is what a Server asks. Its methods may be called from any goroutine.
type Registry interface {
	// FindAll is that of [storage.Store].
	FindAll(queries []storage.Query)

	// LeaseLeft returns how long the lease of r still runs, and false if it has
	// none.
	LeaseLeft(r *foyer.Registration) (time.Duration, bool)
}

// Options say what a Server is.
type Options struct {
	// Domain is the domain that rooms are in.
	Domain string

	// NameServers are the names under which the domain is delegated to servers such
	// as this one, none of them within the domain. Without any it is the domain
	// itself, which has the address then that was asked.
	NameServers []string

	// Log gets what operators should know; nil discards it.
	Log *slog.Logger
}

// A Server answers for the rooms of a registry.
type Server struct {
	registry Registry
	zone     zone
	log      *slog.Logger
	counts   counts
	conns    conns
}

// New returns a Server. Its error is about the options.
func New(registry Registry, o Options) (*Server, error) {
	domain, err := parseDomain(o.Domain)
	if err != nil {
		return nil, err
	}
	s := &Server{registry: registry, zone: zone{domain: domain, serial: uint32(time.Now().Unix())}, log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, n := range o.NameServers {
		name, err := parseName(n)
		if err != nil {
			return nil, err
		}
		var l location
		if s.zone.locate(name, &l); l.place != outside {
			return nil, fmt.Errorf("the name server %s is within %s, where names are those of rooms", n, o.Domain)
		}
		s.zone.nameServers = append(s.zone.nameServers, name)
	}
	return s, nil
}

// Serve answers what arrives on sockets, and on the connections that l accepts, until
// ctx ends; then it returns nil. It returns an error if one of them fails for good. It
// closes l, and not sockets, and can be called once.
func (s *Server) Serve(ctx context.Context, l net.Listener, sockets ...udp.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var serving sync.WaitGroup
	failures := make([]error, len(sockets)+1)
	for i, c := range sockets {
		serving.Go(func() {
			defer cancel()
			failures[i] = s.serveUDP(ctx, c)
		})
	}
	serving.Go(func() {
		defer cancel()
		failures[len(sockets)] = s.serveTCP(ctx, l)
	})
	<-ctx.Done()
	for _, c := range sockets {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
	_ = l.Close()
	s.conns.closeAll()
	serving.Wait()
	return errors.Join(failures...)
}

// A task is one query on its way.
type task struct {
	query
	location
	local netip.Addr // the address that was asked
	limit int        // of the reply, in bytes
	out   []byte     // memory for the reply, and then that
}

// answerAll writes the replies to tasks, whose queries are read. There is one of known
// for each.
func (s *Server) answerAll(ts []*task, known []storage.Query) {
	asked := 0
	for _, t := range ts {
		if t.room = nil; s.isOurs(&t.query) {
			s.zone.locate(t.name, &t.location)
		}
		if t.room != nil {
			known[asked].Name = t.room
			asked++
		}
	}
	s.registry.FindAll(known[:asked])
	for _, t := range ts {
		var found *storage.Query
		if t.room != nil {
			found, known = &known[0], known[1:]
		}
		s.answer(t, found)
	}
}

// isOurs reports whether a query is one that this server answers at all.
func (s *Server) isOurs(q *query) bool {
	switch {
	case q.rcode != dnsmessage.RCodeSuccess:
		return false
	case q.class != dnsmessage.ClassINET, q.kind == dnsmessage.TypeAXFR, q.kind == typeIXFR:
		q.rcode = dnsmessage.RCodeRefused
		return false
	}
	return true
}

// answer writes the reply to t; found is what the registry says, if it was asked.
func (s *Server) answer(t *task, found *storage.Query) {
	var r reply
	r.begin(t.out[:0], &t.query, t.limit)
	switch {
	case r.rcode != dnsmessage.RCodeSuccess:
	case t.place == outside:
		r.rcode = dnsmessage.RCodeRefused
	case found != nil && found.Err != nil && !errors.Is(found.Err, foyer.ErrUnknownName):
		s.log.Error("a look-up failed", "err", found.Err)
		r.rcode = dnsmessage.RCodeServerFailure
	default:
		r.flags = bitAA
		switch {
		case t.place == apex:
			r.apex(&s.zone, t.domain, t.local)
		case t.place == between:
			r.none(&s.zone, t.domain, dnsmessage.RCodeSuccess)
		case t.place == nowhere || found.Err != nil:
			r.none(&s.zone, t.domain, dnsmessage.RCodeNameError)
		default:
			left := roomTTL
			if found.Registration.TTL > 0 {
				if d, ok := s.registry.LeaseLeft(&found.Registration); ok {
					left = d
				}
			}
			r.room(&s.zone, &t.location, &found.Registration, left)
		}
	}
	t.out = r.end()
	s.counts.add(&t.query, r.rcode)
}

// queryBuffer is the longest query that is read over UDP, in bytes. What is longer is
// cut off, and so not well-formed.
const queryBuffer = maxSize

// A batch is what one socket's reader works with.
type batch struct {
	in    [udp.BatchSize]udp.Datagram
	out   [udp.BatchSize]udp.Datagram
	all   [udp.BatchSize]task
	known [udp.BatchSize]storage.Query
	tasks []*task
}

func newBatch() *batch {
	b := &batch{tasks: make([]*task, 0, udp.BatchSize)}
	memory := make([]byte, udp.BatchSize*(queryBuffer+maxSize))
	take := func(n int) []byte {
		piece := memory[:0:n]
		memory = memory[n:]
		return piece
	}
	for i := range b.in {
		b.in[i].Data, b.all[i].out = take(queryBuffer), take(maxSize)
	}
	return b
}

// spins is how often a reader looks again before it sleeps.
const spins = 200

func (s *Server) serveUDP(ctx context.Context, c udp.Conn) error {
	b, local := newBatch(), c.LocalAddr().Addr()
	for looks := 0; ctx.Err() == nil; looks++ {
		n, err := c.Poll(b.in[:])
		if n > 0 {
			looks = 0
			if out := s.answerBatch(b, n, local); len(out) > 0 {
				_ = c.Send(out)
			}
			continue
		}
		if err == nil && looks < spins {
			runtime.Gosched() // whoever else has work goes first
			continue
		}
		if err == nil {
			looks = 0
			err = c.Wait()
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("the socket was closed: %w", err)
		default:
			s.log.Error("receiving failed", "err", err)
			select { // a failure that stays must not fill the log
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// answerBatch returns the replies to the first n datagrams that came in. Local is the
// address of a socket that has only one.
func (s *Server) answerBatch(b *batch, n int, local netip.Addr) []udp.Datagram {
	b.tasks = b.tasks[:0]
	for i := range b.in[:n] {
		d, t := &b.in[i], &b.all[len(b.tasks)]
		if d.Peer.Port() == 0 || !t.parse(d.Data) {
			continue
		}
		if t.local = d.Local; !t.local.IsValid() && !local.IsUnspecified() {
			t.local = local
		}
		t.limit = t.limitUDP(len(d.Data))
		o := &b.out[len(b.tasks)]
		o.Peer, o.Local = d.Peer, d.Local
		b.tasks = append(b.tasks, t)
	}
	s.answerAll(b.tasks, b.known[:])
	for i, t := range b.tasks {
		b.out[i].Data = t.out
	}
	return b.out[:len(b.tasks)]
}

// counts counts queries by type and code. Its size bounds them, whatever is asked.
type counts [len(kindNames)][len(rcodeNames)]atomic.Uint64

// kinds are those that are counted apart, and kindNames what they are called, with
// those of others, and of questions that could not be read.
var (
	kinds = [...]dnsmessage.Type{
		dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV, dnsmessage.TypeTXT, dnsmessage.TypeSOA, dnsmessage.TypeNS, dnsmessage.TypeALL,
	}
	kindNames = [len(kinds) + 2]string{"A", "AAAA", "SRV", "TXT", "SOA", "NS", "ANY", "other", "none"}
)

// Those that are sent.
var rcodeNames = [...]string{
	dnsmessage.RCodeSuccess: "NOERROR", dnsmessage.RCodeFormatError: "FORMERR", dnsmessage.RCodeServerFailure: "SERVFAIL",
	dnsmessage.RCodeNameError: "NXDOMAIN", dnsmessage.RCodeNotImplemented: "NOTIMP", dnsmessage.RCodeRefused: "REFUSED",
	rcodeBadVersion: "BADVERS",
}

func (c *counts) add(q *query, rcode dnsmessage.RCode) {
	kind := slices.Index(kinds[:], q.kind)
	switch {
	case len(q.question) == 0:
		kind = len(kinds) + 1
	case kind < 0:
		kind = len(kinds)
	}
	c[kind][rcode].Add(1)
}

// Queries returns how many queries were answered so far, by type and code, as dig
// prints them. The type is "other" if it is none of those that there are records of,
// and "none" if the question could not be read.
func (s *Server) Queries() map[string]map[string]uint64 {
	byType := make(map[string]map[string]uint64, len(kindNames))
	for i, kind := range kindNames {
		byType[kind] = make(map[string]uint64, len(rcodeNames))
		for code, name := range rcodeNames {
			if name != "" {
				byType[kind][name] = s.counts[i][code].Load()
			}
		}
	}
	return byType
}
