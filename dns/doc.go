// Package dns answers for the rooms of a registry as an authoritative name server
// (RFC 1035), so that whatever can ask the DNS finds them. Its zone is one domain,
// and in it are, for each room, with what docs/dns.md calls its DNS name:
//
//	NAME.DOMAIN             A or AAAA   the room's host, if that is an IP address
//	                        SRV         its port, and NAME.DOMAIN or the host's own name
//	                        TXT         its address, since when, and where its exits lead
//	_room._udp.NAME.DOMAIN  SRV         the same, as RFC 2782 spells it
//	DOMAIN                  SOA, NS
//
// Nothing is transferred, signed or cached here: each query is a look-up in the
// registry's memory. Queries come over UDP in batches and are answered in batches,
// without allocating; over TCP each connection has its goroutine.
//
// A query goes this way: [query.parse] reads it, [zone.locate] finds its place in the
// zone, the store looks up the room, and [reply] writes what is there. All names in a
// reply but the target of an SRV record are the question's or end as it does, so
// compression (RFC 1035, section 4.1.4) is a pointer into the question.
package dns
