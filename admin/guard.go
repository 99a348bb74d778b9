package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"foyer"
)

// guard lets those requests through to h that came over the network and may be
// answered.
func (a *Admin) guard(h http.Handler) http.Handler {
	crossSite := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			w.Header().Set("Connection", "close") // nobody waits for the body of a request that is refused
		}
		switch {
		case !a.isOwnHost(r):
			Fail(w, foyer.Errorf(Forbidden, "this registry is not %q: use localhost, its IP address, or the name given to --http", r.Host))
		case crossSite.Check(r) != nil:
			Fail(w, foyer.Errorf(Forbidden, "the request comes from a page of another site"))
		case r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions:
			h.ServeHTTP(w, r)
		case a.token.Load() == nil:
			Fail(w, foyer.Errorf(Forbidden, "changes are made over the Unix socket only, unless the registry has an --admin-token-file"))
		case !a.hasToken(r):
			w.Header().Set("WWW-Authenticate", `Bearer realm="foyer"`)
			Fail(w, foyer.Errorf(foyer.Unauthorized, "changes need the token of --admin-token-file, as Authorization: Bearer TOKEN"))
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// isOwnHost reports whether a request names this machine: a page whose host name was
// pointed at this address (DNS rebinding) names its own.
func (a *Admin) isOwnHost(r *http.Request) bool {
	host := strings.ToLower(withoutPort(r.Host))
	if host == "localhost" || host == a.options.Host {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap().WithZone("") == ip.Unmap().WithZone("")
}

// withoutPort returns a host without a port and brackets.
func withoutPort(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// SetToken sets the token with which changes can be made over the network; with an
// empty one they cannot.
func (a *Admin) SetToken(token string) {
	if token == "" {
		a.token.Store(nil)
		return
	}
	a.token.Store(new(sha256.Sum256([]byte(token))))
}

func (a *Admin) hasToken(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	want, got := a.token.Load(), sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "bearer") && want != nil && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// secure sets what a browser needs to be told with every answer.
func secure(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		h.ServeHTTP(w, r)
	})
}
