package exchange

import "time"

// ReadErrorPause is how long the reader of a socket rests after an error. Some
// systems report errors of datagrams sent earlier there, which must neither end
// the reader nor keep it busy.
const ReadErrorPause = time.Millisecond
