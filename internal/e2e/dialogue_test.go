package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A dialogue exchanges datagrams with a registry or a room as a script says.
// The script is also a transcript for people who write other clients. Each line
// is
//
//	# a comment
//	NAME> TEXT     NAME, who has a socket of their own, sends TEXT
//	NAME< TEXT     the next datagram that comes to NAME is TEXT
//
// with \n for a newline, \0 for a zero byte and {x} for a text that differs
// from run to run: the id {id…} is made when it is first sent, and everything
// else takes its value where it is first received.
type dialogue struct {
	addr   string
	conns  map[string]net.Conn
	values map[string]string   // kept from dialogue to dialogue of a script
	events map[string][]string // that each name has had, as they may be resent
}

func newDialogue(addr string, values map[string]string) *dialogue {
	return &dialogue{addr, map[string]net.Conn{}, values, map[string][]string{}}
}

func (d *dialogue) close() {
	for _, c := range d.conns {
		c.Close()
	}
}

var (
	dialogueLine = regexp.MustCompile(`^(\w+)([<>]) ?(.*)$`)
	placeholder  = regexp.MustCompile(`\{(\w+)\}`)
	escapes      = strings.NewReplacer(`\n`, "\n", `\0`, "\x00", `\\`, `\`)
)

func (d *dialogue) line(text string) error {
	if text == "" || strings.HasPrefix(text, "#") {
		return nil
	}
	m := dialogueLine.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("not of the form NAME> TEXT: %s", text)
	}
	conn := d.conns[m[1]]
	if conn == nil {
		var err error
		if conn, err = net.Dial("udp", d.addr); err != nil {
			return err
		}
		d.conns[m[1]] = conn
	}
	if m[2] == ">" {
		return d.send(conn, m[3])
	}
	return d.receive(m[1], conn, m[3])
}

func (d *dialogue) send(conn net.Conn, text string) error {
	var missing error
	text = placeholder.ReplaceAllStringFunc(escapes.Replace(text), func(p string) string {
		name := p[1 : len(p)-1]
		if _, known := d.values[name]; !known {
			if !strings.HasPrefix(name, "id") {
				missing = fmt.Errorf("%s has no value yet", p)
			}
			d.values[name] = uuid.Must(uuid.NewV7()).String()
		}
		return d.values[name]
	})
	if missing != nil {
		return missing
	}
	_, err := conn.Write([]byte(text))
	return err
}

func (d *dialogue) receive(name string, conn net.Conn, text string) error {
	buf := make([]byte, 65536)
	conn.SetReadDeadline(time.Now().Add(patience))
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("nothing comes, wanted %q", text)
		}
		if err != nil {
			return err
		}
		got := string(buf[:n])
		if slices.Contains(d.events[name], got) {
			continue
		}
		if strings.HasPrefix(got, "@sid=") {
			d.events[name] = append(d.events[name], got)
		}
		return d.match(got, escapes.Replace(text))
	}
}

// match compares got with want and records the values that want names.
func (d *dialogue) match(got, want string) error {
	var names []string
	var pattern strings.Builder
	rest := want
	for _, p := range placeholder.FindAllStringIndex(want, -1) {
		skipped := len(want) - len(rest)
		pattern.WriteString(regexp.QuoteMeta(want[skipped:p[0]]))
		name := want[p[0]+1 : p[1]-1]
		rest = want[p[1]:]
		if value, known := d.values[name]; known {
			pattern.WriteString(regexp.QuoteMeta(value))
			continue
		}
		pattern.WriteString(`([A-Za-z0-9._~+/=-]+)`)
		names = append(names, name)
	}
	pattern.WriteString(regexp.QuoteMeta(rest))
	m := regexp.MustCompile(`^` + pattern.String() + `$`).FindStringSubmatch(got)
	if m == nil {
		return fmt.Errorf("got  %q\nwant %q", got, want)
	}
	for i, name := range names {
		d.values[name] = m[1+i]
	}
	return nil
}
