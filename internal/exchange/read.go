package exchange

import "time"

// ReadErrorPause is how long the reader of a socket rests after an error. Some
// systems report here what became of datagrams sent earlier: that must not end
// the reader, nor keep it busy.
const ReadErrorPause = time.Millisecond
