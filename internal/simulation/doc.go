// Package simulation tries the registry as a whole: the real service, the real
// store and real clients, in one process, on a network in memory and on fake
// time. All of it is in its tests; nothing imports it.
//
// One seed makes one world. In it a registry serves some dozens of clients that
// register, renew, look up, take over and end registrations, claim what is not
// theirs, and give up after 5 seconds, while the network loses, repeats, delays
// and reorders; the registry is killed, also in the middle of a transaction, and
// started again from what its disk had kept; the disk stalls, fills up, or does
// not know whether it has written; the registry's clock jumps; links break; and
// somebody sends again what he has recorded minutes before, as it was or with a
// bit changed.
//
// What the clients saw is a history of operations with a beginning and an end
// each. It passes if
//
//   - it is linearizable, as porcupine finds out, with regard to a model of the
//     registry in which a lease may end only when it may (model_test.go);
//   - no id was ever recorded twice, and nothing changed without one
//     (journal_test.go);
//   - all replies to one id were the same, byte for byte, and nobody was sent
//     more than three bytes for one (tap_test.go);
//   - after each crash the disk held exactly the transactions that were to be
//     there, and its indexes agreed (journal_test.go);
//   - in the end every lease that nobody renewed has run out.
//
// A seed that fails is printed and is run again with FOYER_SEED=n. See
// docs/reliability.md for what is promised, and how exactly a seed repeats.
package simulation
