// Package foyer is the vocabulary of Foyer: what a room is called, where it
// listens, in which directions it has exits, what a registration of it holds, and
// the ways in which a request can be refused. It does no I/O and keeps no state;
// every other package speaks in its words.
//
// Names and addresses have one canonical form each, and the types [Name] and
// [Address] hold nothing else: two values are equal exactly when they mean the
// same room or the same place.
package foyer
