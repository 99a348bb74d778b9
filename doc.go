// Package foyer is the vocabulary of Foyer: what a room is called, where it
// listens, in which directions it has exits, what its registration holds, and
// how a request can be refused. It does no I/O and keeps no state; every other
// package uses its terms.
//
// Names and addresses have one canonical form each, and the types [Name] and
// [Address] hold nothing else: two values are equal exactly when they mean the
// same room or address.
package foyer
