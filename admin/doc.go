// Package admin is the HTTP interface of a registry, for those who run it: an API
// of versioned JSON under /v1, a stream of changes, metrics, health, and a page.
//
// The same interface is served on two listeners. On the Unix socket beside the
// database, which only the file's owner can open, everything is allowed. Over TCP
// whoever reaches it may read; changing something needs a bearer token. Requests
// that a page of another origin has made a browser send, or that name a host other
// than this one (DNS rebinding), are refused.
//
//	GET    /v1/rooms?prefix=&after=&limit=  registrations by name, in pages; or name=, repeated
//	GET    /v1/rooms/{name}                 a registration
//	DELETE /v1/rooms/{name}?for=10m         evict it, and hold the name back for a while
//	GET    /v1/rooms/{name}/events          what happened to the name, newest first
//	GET    /v1/holds?prefix=                names that are held back
//	DELETE /v1/holds/{name}                 let a name be registered again
//	GET    /v1/status                       how the registry is doing
//	GET    /v1/rates                        what was done in each of the last seconds
//	GET    /v1/watch                        a stream of changes
//	POST   /v1/import                       register what a dump says
//	POST   /v1/compact                      make the database as small as it can be
//	POST   /v1/copy                         a copy of the database, on the socket only
//	GET    /healthz, /readyz                200, or 503 and why
//	GET    /metrics                         for Prometheus
//	GET    /debug/pprof/                    profiles, only when asked for
//	GET    /                                the page
//
// openapi.yaml describes it all and is served as /openapi.yaml. A failure is a status
// of 400 or more with {"error":{"code":"unknown-name","message":"one line"}}; codes are
// those of the protocol, where one fits, or that of this package.
package admin
