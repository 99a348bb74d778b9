// Package simulation tests the registry as a whole: the real service, the real
// store and real clients, in one process, on an in-memory network and on fake
// time. All of it is in its tests; nothing imports it.
//
// One seed makes one world. In it a registry serves some dozens of clients that
// register, renew, look up, take over and end registrations, claim what is not
// theirs, and give up after 5 seconds, while the network loses, repeats, delays
// and reorders datagrams; the registry is killed, even in the middle of a
// transaction, and restarted from what its disk had kept; the disk stalls,
// fills up, or leaves it unknown whether it has written; the registry's clock
// jumps; links break; and somebody replays datagrams recorded minutes earlier,
// unchanged or with a bit flipped.
//
// What the clients saw is a history of operations, each with a beginning and an
// end. The run passes if
//
//   - the history is linearizable, according to porcupine and a model of the
//     registry in which a lease may end only when it may (model_test.go);
//   - no id was ever recorded twice, and nothing changed without one
//     (journal_test.go);
//   - all replies to one id were the same, byte for byte, and nobody was sent
//     more than three times what they had sent (tap_test.go);
//   - after each crash the disk held exactly the transactions that should be
//     there, and its indexes agreed (journal_test.go);
//   - at the end every lease that nobody renewed has expired.
//
// A failing seed is printed and can be run again with FOYER_SEED=n. See
// docs/reliability.md for what is promised, and for how far a seed repeats
// exactly.
package simulation
