package wire

import "foyer"

// MaxTags is the most tags that a line may have, known and unknown together.
const MaxTags = 16

// Tags are the known tags of a line. The byte slices are views into it; nil
// means that the tag is absent.
type Tags struct {
	Any bool // the line has tags, known or not

	ID   []byte   // the id as it was sent, 36 bytes
	UUID foyer.ID // the id's value

	TTL    uint64 // seconds
	HasTTL bool

	Key []byte // base64url, not yet decoded
	Sig []byte // base64url, not yet decoded

	Exits []byte // see foyer.DecodeExits

	Code []byte
	Now  uint64 // Unix milliseconds

	Sid    []byte
	Ev     uint64
	HasEv  bool
	Lost   uint64 // events left out before this one
	Ack    uint64
	HasAck bool
	Cookie []byte
	Ticket []byte
}

var (
	errTagsUnended = &foyer.Error{Code: foyer.Malformed, Text: "the tags do not end with a space"}
	errTagForm     = &foyer.Error{Code: foyer.Malformed, Text: "a tag is not of the form key=value"}
	errTagValue    = &foyer.Error{Code: foyer.Malformed, Text: "a tag's value has a character that values may not have"}
	errTagTwice    = &foyer.Error{Code: foyer.Malformed, Text: "a tag is given twice"}
	errTagCount    = &foyer.Error{Code: foyer.Malformed, Text: "the line has more than 16 tags"}
	errTagID       = &foyer.Error{Code: foyer.Malformed, Text: "the id is not a UUID"}
	errTagNumber   = &foyer.Error{Code: foyer.Malformed, Text: "a tag that should be a number is none"}
	errSigLast     = &foyer.Error{Code: foyer.Malformed, Text: "the tag sig is not the last one"}
)

// ParseTags reads the tags at the beginning of line, if there are any, and
// returns the rest of the line. On an error, which is a [*foyer.Error] of code
// malformed, the Tags still hold an ID that was read before the fault, so that
// the refusal can repeat it.
func ParseTags(line []byte) (t Tags, rest []byte, err error) {
	rest, err = t.parse(line)
	return t, rest, err
}

// parse is ParseTags into a value that can be reused.
func (t *Tags) parse(line []byte) (rest []byte, err error) {
	if t.Any {
		*t = Tags{}
	}
	if len(line) == 0 || line[0] != '@' {
		return line, nil
	}
	t.Any = true
	for n, i := 0, 1; ; n++ {
		key, value, end, err := scanTag(line, i)
		if err != nil {
			return nil, err
		}
		if n == MaxTags {
			return nil, errTagCount
		}
		if n > 0 && hasTag(line, i, key) {
			return nil, errTagTwice
		}
		if t.Sig != nil {
			return nil, errSigLast
		}
		if err := t.set(key, value); err != nil {
			return nil, err
		}
		if line[end] == ' ' {
			return line[end+1:], nil
		}
		i = end + 1
	}
}

// hasTag reports whether a tag with that key begins before end. The tags up to
// end must be well formed.
func hasTag(line []byte, end int, key []byte) bool {
	for i := 1; i < end; {
		k, _, next, _ := scanTag(line, i)
		if string(k) == string(key) {
			return true
		}
		i = next + 1
	}
	return false
}

// scanTag reads the tag that begins at i and returns the index of the ";" or "
// " after it.
func scanTag(line []byte, i int) (key, value []byte, end int, err error) {
	start := i
	for i < len(line) && isKeyByte[line[i]] {
		i++
	}
	if i == len(line) {
		return nil, nil, 0, errTagsUnended
	}
	if i == start || line[i] != '=' {
		return nil, nil, 0, errTagForm
	}
	key = line[start:i]
	i++
	start = i
	for i < len(line) && isValueByte[line[i]] {
		i++
	}
	if i == len(line) {
		return nil, nil, 0, errTagsUnended
	}
	if line[i] != ';' && line[i] != ' ' {
		return nil, nil, 0, errTagValue
	}
	return key, line[start:i:i], i, nil
}

func (t *Tags) set(key, value []byte) error {
	ok := true
	switch string(key) {
	case "id":
		if t.UUID, ok = parseUUID(value); !ok {
			return errTagID
		}
		t.ID = value
	case "ttl":
		t.HasTTL = true
		t.TTL, ok = parseNumber(value)
	case "key":
		t.Key = value
	case "sig":
		t.Sig = value
	case "exits":
		t.Exits = value
	case "code":
		t.Code = value
	case "now":
		t.Now, ok = parseNumber(value)
	case "sid":
		t.Sid = value
	case "ev":
		t.HasEv = true
		t.Ev, ok = parseNumber(value)
	case "lost":
		t.Lost, ok = parseNumber(value)
	case "ack":
		t.HasAck = true
		t.Ack, ok = parseNumber(value)
	case "cookie":
		t.Cookie = value
	case "ticket":
		t.Ticket = value
	}
	if !ok {
		return errTagNumber
	}
	return nil
}

// parseNumber reads 1 to 18 decimal digits.
func parseNumber(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// parseUUID reads the form of RFC 9562, section 4: 8-4-4-4-12 digits of either
// case.
func parseUUID(b []byte) (id foyer.ID, ok bool) {
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return id, false
	}
	for n, i := range [16]byte{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34} {
		high, low := hexValue[b[i]], hexValue[b[i+1]]
		if high|low > 15 {
			return id, false
		}
		id[n] = high<<4 | low
	}
	return id, true
}

var isKeyByte, isValueByte [256]bool

var hexValue [256]byte // 16 for anything but a hexadecimal digit

func init() {
	for c := range 256 {
		hexValue[c] = 16
	}
	for c := byte('0'); c <= '9'; c++ {
		isValueByte[c], hexValue[c] = true, c-'0'
	}
	for c := byte('a'); c <= 'z'; c++ {
		isValueByte[c], isValueByte[c-32] = true, true
	}
	for c := range byte(6) {
		hexValue['a'+c], hexValue['A'+c] = 10+c, 10+c
	}
	for _, c := range []byte("._~+/=-") {
		isValueByte[c] = true
	}
	isKeyByte = isValueByte
	isKeyByte['='] = false
}
