package storage

import "foyer"

// A Shared is a [Store] that other processes change as well, each with a store of its
// own. An Update is decided on everything that was done before it, by whomever: if
// others were faster, its function is run again. What others have done becomes visible
// within Update and Follow, which are called by one goroutine.
type Shared interface {
	Store

	// Observe has fn called with what each transaction of others has changed, when it
	// has become visible, by the goroutine that calls Update or Follow, and before an
	// Update's function is run again. fn must not keep changes, and must not call the
	// store's Update or Follow. It is called once, before either.
	Observe(fn func(now Instant, changes []Change))

	// Follow makes visible what others have done, as far as it has been heard of. Its
	// errors are those of Update.
	Follow() error

	// News is sent to when Follow has something to do.
	News() <-chan struct{}
}

// A Change is what a transaction of another process has made of a name.
type Change struct {
	// Kind is the last thing that happened to the name, or 0 if that has left its
	// registration as it was.
	Kind Kind

	// Before and After are its registrations. One without an Address is none.
	Before, After foyer.Registration
}
