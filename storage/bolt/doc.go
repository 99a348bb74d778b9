// Package bolt is the embedded [storage.Store]: one file, kept by bbolt.
//
// # The file
//
// A registration has to be on the disk before it is answered, and names come in
// no order. Writing each where it belongs in a tree of a million names would
// cost a page or more for every one. So an Update writes what it changed one
// after the other, and once only, and what belongs together is brought
// together later, in larger steps:
//
//	bucket log     number of a block, 8 bytes  ->  a block of a group
//	bucket rooms   name                        ->  a record
//	bucket meta    "format"                    ->  the format's version
//	               "state"                     ->  positions in the log, counts, clocks
//	               "holds"                     ->  how many names are held, and a sum over them
//	bucket holds   name                        ->  since when and until when it is held
//
// A group is everything that one Update changed: events, outcomes, and the names
// whose history was forgotten. A record is what is known of one name: its
// registration and its history. Groups are folded into the records by a sweep
// that moves through the names in their order (fold.go); both sides are written
// in the same transaction of bbolt as the group of the Update that pays for it.
// A record bears the position of the last group that it includes, so a group may
// be replayed on top of it or not, the outcome is the same.
//
// The log is kept from the first group that is not folded, or whose outcomes may
// still be asked for, to its end. Groups, records and the state bear checksums;
// the checksum of a group includes its position and that of a record its name,
// and the state counts the records and sums their checksums up: a page that was
// damaged, lost or put back is noticed on opening, or, in a large file, in the
// first second after it (load.go) and before anything is changed.
//
// # The memory
//
// What is looked up is in memory, and is rebuilt from the file on opening: an
// index of names and one of addresses (index.go), whose entries are the
// registrations themselves (entry.go), side by side in large chunks of memory
// (arena.go), which are emptied when little of them is in use (reclaim.go); and
// an index of outcomes (outcomes.go) that holds their places in the log. None of
// it has pointers for the garbage collector. Find reads the first index without
// waiting for anything. Besides, the events that are still to be folded
// (pending.go), the names that are held (holds.go), and the names that have ended, in the order in which they did.
package bolt
