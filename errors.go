package foyer

import "fmt"

// A Code says why a request was refused, for programs: it is the value of the
// tag "code". docs/protocol.md, "Error codes", says what a client should do
// about each.
type Code string

// The codes, grouped by occasion.
const (
	// The request cannot be read.
	Malformed   Code = "malformed"
	UnknownVerb Code = "unknown-verb"
	BadName     Code = "bad-name"
	BadAddress  Code = "bad-address"
	TooLarge    Code = "too-large"

	// The request contradicts what is registered.
	NameTaken    Code = "name-taken"
	AddressTaken Code = "address-taken"
	UnknownName  Code = "unknown-name"
	Replaced     Code = "replaced"

	// The sender may not ask for it.
	NotOwner       Code = "not-owner"
	BadSignature   Code = "bad-signature"
	Unauthorized   Code = "unauthorized"
	ForeignAddress Code = "foreign-address"
	Evicted        Code = "evicted"

	// The request's id does not fit.
	IDReused     Code = "id-reused"
	StaleRequest Code = "stale-request"

	// Nothing happened and nothing was recorded; trying again may work.
	Busy        Code = "busy"
	Unavailable Code = "unavailable"

	// Of rooms only.
	UnknownSession Code = "unknown-session"
	BadCookie      Code = "bad-cookie"
)

// Codes returns every code.
func Codes() []Code {
	return []Code{
		Malformed, UnknownVerb, BadName, BadAddress, TooLarge,
		NameTaken, AddressTaken, UnknownName, Replaced,
		NotOwner, BadSignature, Unauthorized, ForeignAddress, Evicted,
		IDReused, StaleRequest,
		Busy, Unavailable,
		UnknownSession, BadCookie,
	}
}

// Temporary reports whether the same request may succeed if it is sent again.
func (c Code) Temporary() bool { return c == Busy || c == Unavailable }

// An Error is a refusal: a code for programs and one line of text for people.
// Two errors are the same to [errors.Is] when their codes are equal, so that
// errors.Is(err, foyer.ErrNameTaken) holds whatever the text says.
type Error struct {
	Code Code
	Text string // one line, without the code
}

// Errors to compare with, one for each code.
var (
	ErrMalformed   = &Error{Malformed, "the request cannot be read"}
	ErrUnknownVerb = &Error{UnknownVerb, "there is no such request"}
	ErrBadName     = &Error{BadName, "the name cannot be one"}
	ErrBadAddress  = &Error{BadAddress, "the address cannot be one"}
	ErrTooLarge    = &Error{TooLarge, "the request is too long"}

	ErrNameTaken    = &Error{NameTaken, "the name is already registered"}
	ErrAddressTaken = &Error{AddressTaken, "the address is already registered"}
	ErrUnknownName  = &Error{UnknownName, "no such name is registered"}
	ErrReplaced     = &Error{Replaced, "the name is now registered at another address"}

	ErrNotOwner       = &Error{NotOwner, "the name belongs to somebody else"}
	ErrBadSignature   = &Error{BadSignature, "the signature does not fit the request and the key"}
	ErrUnauthorized   = &Error{Unauthorized, "this registry is closed to strangers"}
	ErrForeignAddress = &Error{ForeignAddress, "the address is not the sender's own"}
	ErrEvicted        = &Error{Evicted, "the operator has taken this name off"}

	ErrIDReused     = &Error{IDReused, "the id belongs to another request"}
	ErrStaleRequest = &Error{StaleRequest, "the request's id is too old or too far ahead"}

	ErrBusy        = &Error{Busy, "the registry is busy"}
	ErrUnavailable = &Error{Unavailable, "the registry cannot write now"}

	ErrUnknownSession = &Error{UnknownSession, "the room does not know the session"}
	ErrBadCookie      = &Error{BadCookie, "the sender's address has yet to be proven"}
)

// Errorf returns an error of the given code with a formatted text.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Text }

// Is makes [errors.Is] compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
