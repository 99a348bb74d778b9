// Package bolt is the embedded [storage.Store]: an engine whose log is one file, kept by bbolt.
//
//	bucket log       number of a block, 8 bytes  ->  a block of the log's bytes
//	bucket snapshot  key of a piece              ->  the piece
//	bucket meta      "format"                    ->  the format's version, 4 bytes
//	                 "log"                       ->  the extent: first block still kept, bytes appended in all,
//	                                                 and the bytes that do not fill a block
//	                 "state"                     ->  the engine's state
//
// What an Update appends is written in one transaction of bbolt. The bytes that do not fill a block are in meta, which
// lies in the page with the roots of the buckets: four times out of five a lone registration writes no leaf but that one;
// beside it bbolt writes its free list and its meta page.
//
// open.go opens and creates, outline.go looks for damage that bbolt does not notice, log.go appends, trouble.go recovers from
// a failed commit by reopening the file, copy.go copies a live file.
package bolt
