//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"

	"foyer/internal/load"
)

// redisAsker sends GET for random rooms, or SET NX for new ones. A client sends as
// many at a time as lines says, and the next ones when all were answered.
type redisAsker struct {
	*asker
	set   bool
	conns []redisConn // by client
	out   [1][]byte
}

type redisConn struct {
	left    int // commands that are not answered yet
	sent    time.Time
	partial []byte // of a reply
}

func newRedis(a *asker, set bool) *redisAsker {
	return &redisAsker{asker: a, set: set, conns: make([]redisConn, a.clients)}
}

func (r *redisAsker) send(client int, now time.Time) {
	c := &r.conns[client]
	if c.left > 0 {
		return
	}
	c.left, c.sent = r.lines, now
	out := r.out[0][:0]
	for range r.lines {
		if r.set {
			out = append(out, "*4\r\n$3\r\nSET\r\n$21\r\n"...)
			out = load.AppendName(out, r.next)
			out = append(out, "\r\n$27\r\n"...)
			out = load.AppendAddress(out, r.next)
			out = append(out, "\r\n$2\r\nNX\r\n"...)
			r.next++
		} else {
			out = append(out, "*2\r\n$3\r\nGET\r\n$21\r\n"...)
			out = load.AppendName(out, rand.Uint64N(r.names))
			out = append(out, "\r\n"...)
		}
	}
	r.out[0] = out
	r.sockets.Send(client, r.out[:])
}

// The replies that a client takes; what follows the beginning of roomReply is
// the address.
const (
	setReply  = "+OK\r\n"
	roomReply = "$27\r\nroom://"
	roomSize  = len("$27\r\n") + 27 + len("\r\n")
)

func (r *redisAsker) take(client int, pieces [][]byte, now time.Time) error {
	c := &r.conns[client]
	want, size := roomReply, roomSize
	if r.set {
		want, size = setReply, len(setReply)
	}
	for _, data := range pieces {
		if len(c.partial) > 0 {
			data = append(c.partial, data...)
		}
		for ; len(data) >= size && c.left > 0; c.left-- {
			if !bytes.HasPrefix(data, []byte(want)) {
				break
			}
			data = data[size:]
		}
		if !bytes.HasPrefix(data, []byte(want[:min(len(want), len(data))])) || len(data) > 0 && c.left == 0 {
			return fmt.Errorf("redis said %q", data)
		}
		c.partial = append(c.partial[:0], data...)
	}
	if c.left == 0 {
		r.answered(r.lines, now.Sub(c.sent))
	}
	return nil
}
