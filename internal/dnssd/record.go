package dnssd

import (
	"cmp"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// ttl is that of all records, in seconds: what a registry announced that was
	// killed is forgotten after two minutes.
	ttl = 120

	// legacyTTL is the most that somebody may be told who would not notice that
	// a record has changed (section 6.7 of RFC 6762).
	legacyTTL = 10

	// Top bits of a class: in a record, that it replaces what is known (section
	// 10.2); in a question, that the answer should be unicast (section 5.4).
	cacheFlush = 1 << 15
	unicastBit = 1 << 15

	// maxRecords and maxQuestions are how many are read of one packet.
	maxRecords   = 64
	maxQuestions = 32
)

// An identity is what the records of a registry say, but for the addresses.
type identity struct {
	world    string
	instance string // a name, as is host
	host     string
	port     uint16
}

func newIdentity(world, host string, port uint16) identity {
	return identity{world: world, instance: world + "." + serviceName, host: host + domain, port: port}
}

// records returns what is announced. The last one says only that there is such a
// type of service.
func (id *identity) records(addrs []netip.Addr) []dnsmessage.Resource {
	name := dnsmessage.MustNewName // all are short
	var all []dnsmessage.Resource
	add := func(owner string, class dnsmessage.Class, body dnsmessage.ResourceBody) {
		all = append(all, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name(owner), Type: typeOf(body), Class: class, TTL: ttl}, Body: body,
		})
	}
	add(serviceName, dnsmessage.ClassINET, &dnsmessage.PTRResource{PTR: name(id.instance)})
	add(id.instance, dnsmessage.ClassINET, &dnsmessage.SRVResource{Port: id.port, Target: name(id.host)})
	add(id.instance, dnsmessage.ClassINET, &dnsmessage.TXTResource{TXT: []string{"txtvers=1", "world=" + id.world}})
	for _, a := range addrs {
		var body dnsmessage.ResourceBody = &dnsmessage.AAAAResource{AAAA: a.As16()}
		if a.Is4() {
			body = &dnsmessage.AResource{A: a.As4()}
		}
		add(id.host, dnsmessage.ClassINET|cacheFlush, body)
	}
	add(typesName, dnsmessage.ClassINET, &dnsmessage.PTRResource{PTR: name(serviceName)})
	return all
}

func typeOf(body dnsmessage.ResourceBody) dnsmessage.Type {
	switch body.(type) {
	case *dnsmessage.PTRResource:
		return dnsmessage.TypePTR
	case *dnsmessage.SRVResource:
		return dnsmessage.TypeSRV
	case *dnsmessage.TXTResource:
		return dnsmessage.TypeTXT
	case *dnsmessage.AResource:
		return dnsmessage.TypeA
	}
	return dnsmessage.TypeAAAA
}

// asks reports whether q asks for the record.
func asks(q dnsmessage.Question, r *dnsmessage.Resource) bool {
	class := q.Class &^ unicastBit
	return (q.Type == r.Header.Type || q.Type == dnsmessage.TypeALL) && (class == dnsmessage.ClassINET || class == dnsmessage.ClassANY) &&
		same(q.Name, r.Header.Name)
}

func same(a, b dnsmessage.Name) bool { return lower(a) == lower(b) }

// lower returns a name with small letters in place of capital ones of ASCII, as
// names are compared (section 16 of RFC 6762). Whatever the bytes are, their
// number stays the same.
func lower(n dnsmessage.Name) string {
	b := []byte(n.String())
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// multicast packs records as a multicast response, which bears whatever its
// sender has to say; with ttl 0 it takes them back (section 10.1).
func multicast(records []dnsmessage.Resource, ttl uint32) ([]byte, error) {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	for _, r := range records {
		r.Header.TTL = ttl
		m.Answers = append(m.Answers, r)
	}
	return m.Pack()
}

// unicast packs the response to a question: what it asks for, and the rest as
// additional records. Somebody who asks from another port than 5353 is a plain
// DNS resolver and gets what such a one expects.
func unicast(records []dnsmessage.Resource, q *query) ([]byte, error) {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	if q.legacy() {
		m.ID, m.Questions = q.id, []dnsmessage.Question{q.question}
	}
	for _, r := range records {
		if q.legacy() {
			r.Header.TTL, r.Header.Class = legacyTTL, dnsmessage.ClassINET
		}
		if asks(q.question, &r) {
			m.Answers = append(m.Answers, r)
		} else {
			m.Additionals = append(m.Additionals, r)
		}
	}
	return m.Pack()
}

// A query is what a packet wants of a responder: an answer, or, if another
// registry of the same world has said goodbye, that it says that this one is
// still there.
type query struct {
	from     netip.AddrPort
	socket   *socket
	id       uint16
	question dnsmessage.Question // the first one that is ours
	unicast  bool
	rescue   bool
}

func (q *query) legacy() bool { return q.from.Port() != port }

// parseQuery reads a packet. ours are the responder's records, without
// addresses; it is false if the packet is none of our business.
func parseQuery(packet []byte, from netip.AddrPort, ours []dnsmessage.Resource) (q query, ok bool) {
	var p dnsmessage.Parser
	header, err := p.Start(packet)
	if err != nil || header.OpCode != 0 || header.RCode != dnsmessage.RCodeSuccess {
		return q, false // sections 18.3 and 18.11
	}
	q.from, q.id = from, header.ID
	if header.Response {
		if p.SkipAllQuestions() != nil {
			return q, false
		}
		eachRecord(&p, maxRecords, func(r *dnsmessage.Resource) {
			q.rescue = q.rescue || r.Header.TTL == 0 && isKnown(r, &ours[0])
		})
		return q, q.rescue && from.Port() == port
	}
	unknown := false // whether it asks for something of ours other than the PTR record
	for range maxQuestions {
		question, err := p.Question()
		if err == dnsmessage.ErrSectionDone {
			break
		} else if err != nil {
			// A name with a dot in a label, say, which the codec refuses.
			if p.SkipQuestion() != nil {
				return q, false
			}
			continue
		}
		for i := range ours {
			if !asks(question, &ours[i]) {
				continue
			}
			if !ok {
				q.question, q.unicast, ok = question, question.Class&unicastBit != 0, true
			}
			unknown = unknown || i > 0
		}
	}
	if !ok || unknown || q.legacy() {
		return q, ok
	}
	// Known answers, section 7.1.
	if p.SkipAllQuestions() == nil {
		eachRecord(&p, maxRecords, func(r *dnsmessage.Resource) {
			ok = ok && !(r.Header.TTL >= ttl/2 && isKnown(r, &ours[0]))
		})
	}
	return q, ok
}

// isKnown reports whether r is the PTR record ptr.
func isKnown(r, ptr *dnsmessage.Resource) bool {
	body, is := r.Body.(*dnsmessage.PTRResource)
	return is && same(r.Header.Name, ptr.Header.Name) && same(body.PTR, ptr.Body.(*dnsmessage.PTRResource).PTR)
}

// eachRecord visits the answers and additional records, up to most of them, but
// for those that the codec refuses.
func eachRecord(p *dnsmessage.Parser, most int, visit func(*dnsmessage.Resource)) {
	type section struct {
		next func() (dnsmessage.Resource, error)
		skip func() error
	}
	for i, s := range []section{{p.Answer, p.SkipAnswer}, {p.Additional, p.SkipAdditional}} {
		if i > 0 && p.SkipAllAuthorities() != nil {
			return
		}
		for ; ; most-- {
			r, err := s.next()
			if err == dnsmessage.ErrSectionDone {
				break
			} else if most == 0 {
				return
			} else if err == nil {
				visit(&r)
			} else if s.skip() != nil {
				return
			}
		}
	}
}

// A Registry is one that was found: where it can be asked, and the name of its
// world, which is whatever somebody on the network has sent: at most 63 bytes
// of any kind.
type Registry struct {
	World   string
	Address netip.AddrPort
}

func (r Registry) compare(other Registry) int {
	version := func(r Registry) int { return r.Address.Addr().BitLen() } // IPv4, which more rooms and players have, comes first
	return cmp.Or(cmp.Compare(r.World, other.World), cmp.Compare(version(r), version(other)), r.Address.Compare(other.Address))
}

// parseAnswer returns the registries in a response to the query with that id.
// All that belongs to a registry is expected in one packet, as responders send it
// (section 12.1 of RFC 6763). Addresses for which reaches is false are ignored.
func parseAnswer(packet []byte, id uint16, reaches func(netip.Addr) bool) (found []Registry) {
	var p dnsmessage.Parser
	header, err := p.Start(packet)
	if err != nil || !header.Response || header.OpCode != 0 || header.RCode != dnsmessage.RCodeSuccess || header.ID != id || p.SkipAllQuestions() != nil {
		return nil
	}
	instances, worlds, addrs := map[string]bool{}, map[string]string{}, map[string][]netip.Addr{}
	var services []dnsmessage.Resource
	eachRecord(&p, maxRecords, func(r *dnsmessage.Resource) {
		owner := lower(r.Header.Name)
		if r.Header.TTL == 0 || r.Header.Class&^cacheFlush != dnsmessage.ClassINET {
			return
		}
		switch body := r.Body.(type) {
		case *dnsmessage.PTRResource:
			if owner == serviceName {
				instances[lower(body.PTR)] = true
			}
		case *dnsmessage.SRVResource:
			services = append(services, *r)
		case *dnsmessage.TXTResource:
			for _, entry := range body.TXT {
				if key, value, _ := strings.Cut(entry, "="); strings.EqualFold(key, "world") {
					worlds[owner] = value
					break
				}
			}
		case *dnsmessage.AResource:
			addrs[owner] = append(addrs[owner], netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			addrs[owner] = append(addrs[owner], netip.AddrFrom16(body.AAAA).Unmap())
		}
	})
	for _, r := range services {
		owner, srv := lower(r.Header.Name), r.Body.(*dnsmessage.SRVResource)
		world, named := worlds[owner]
		label, ofType := strings.CutSuffix(owner, "."+serviceName)
		if !named {
			world = r.Header.Name.String()[:len(label)]
		}
		if !instances[owner] || !ofType || srv.Port == 0 || world == "" || len(world) > maxWorld {
			continue
		}
		for _, a := range addrs[lower(srv.Target)] {
			if usable(a) && reaches(a) {
				found = append(found, Registry{world, netip.AddrPortFrom(a, srv.Port)})
			}
		}
	}
	return found
}

// usable reports whether a registry may be asked at a.
func usable(a netip.Addr) bool {
	return a.IsGlobalUnicast() || a.Is4() && a.IsLinkLocalUnicast()
}
