// Package bolt is the embedded [storage.Store]: an engine whose log is one file, kept by bbolt.
//
//	bucket log       number of a block, 8 bytes  ->  a block of the log's bytes
//	bucket snapshot  key of a piece              ->  the piece
//	bucket meta      "format"                    ->  the format's version, 4 bytes
//	                 "log"                       ->  where the log is, and its last bytes
//	                 "state"                     ->  the engine's state
//
// What an Update appends is written in one transaction of bbolt. The bytes that do not fill a block are in meta, which
// lies in the page with the roots of the buckets: a lone registration changes no other page, four times out of five.
package bolt
