//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"foyer/internal/udp"
	"foyer/internal/workbench"
)

// dnsperf tells no percentiles, and sends and receives in another way than
// `registry bench` does. So the name servers are asked a second time by this
// program itself, in a process on the load's core, whose clients send and
// receive as those of `registry bench` do, with questions about random rooms.

// askDNS is the first argument that makes this program the load.
const askDNS = "ask-dns"

func dnsLoad(of shape) runner {
	return func(ctx context.Context, s *stage, p *process, r *rooms) (*workbench.Result, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		var result workbench.Result
		return &result, workbench.RunLoad(exec.CommandContext(ctx, self, askDNS, "-server", p.addr(),
			"-clients", fmt.Sprint(of.clients), "-window", fmt.Sprint(of.window),
			"-names", fmt.Sprint(r.count), "-duration", s.duration()), &result)
	}
}

type dnsRun struct {
	server netip.AddrPort
	names  uint64
	shape
	deadline time.Time
}

// askDNSMain is the load's own main function.
func askDNSMain(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet(askDNS, flag.ContinueOnError)
	server := flags.String("server", "127.0.0.1:53", "the name server")
	names := flags.Uint64("names", 1, "how many rooms it knows")
	var of shape
	flags.IntVar(&of.clients, "clients", 16, "sockets")
	flags.IntVar(&of.window, "window", 16, "questions in flight on each, at most 16")
	duration := flags.Duration("duration", 2*time.Second, "how long to ask")
	if err := flags.Parse(args); err != nil {
		return err
	}
	address, err := netip.ParseAddrPort(*server)
	if err != nil {
		return err
	}
	start := time.Now()
	run := dnsRun{address, *names, of, start.Add(*duration)}
	asked := make([]*dnsClient, run.clients)
	errs := make([]error, run.clients)
	var wg sync.WaitGroup
	for i := range asked {
		asked[i] = &dnsClient{run: &run, latency: hdrhistogram.New(1, int64(10*time.Second/time.Microsecond), 3)}
		wg.Go(func() { errs[i] = asked[i].loop() })
	}
	wg.Wait()
	elapsed := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	all, lost := asked[0].latency, asked[0].lost
	for _, c := range asked[1:] {
		all.Merge(c.latency)
		lost += c.lost
	}
	return json.NewEncoder(stdout).Encode(map[string]any{
		"requests":            all.TotalCount(),
		"requests_per_second": float64(all.TotalCount()) / elapsed.Seconds(),
		"lost":                lost,
		"latency_us": map[string]int64{
			"p50": all.ValueAtQuantile(50),
			"p99": all.ValueAtQuantile(99),
		},
	})
}

// A dnsClient is one socket and the goroutine that asks through it.
type dnsClient struct {
	run     *dnsRun
	latency *hdrhistogram.Histogram // microseconds
	lost    int

	slots []dnsSlot // as many as the window is wide
	out   []udp.Datagram
}

// A dnsSlot is a question in flight. Its id is the slot's number in the last
// four bits, and before that how often the slot was used.
type dnsSlot struct {
	id       uint16
	question []byte
	sent     time.Time // zero when it was answered
}

func (c *dnsClient) loop() error {
	conn, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer conn.Close()
	in := make([]udp.Datagram, udp.BatchSize)
	for i := range in {
		in[i].Data = make([]byte, 2048)
	}
	c.slots = make([]dnsSlot, min(c.run.window, 16))
	for i := range c.slots {
		c.slots[i].id = uint16(i)
	}
	for {
		now := time.Now()
		if now.After(c.run.deadline) {
			return nil
		}
		c.send(conn, now)
		_ = conn.SetReadDeadline(now.Add(lossTimeout / 4))
		n, err := conn.Receive(in, nil)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		now = time.Now()
		for _, d := range in[:n] {
			if err := c.take(d.Data, now); err != nil {
				return err
			}
		}
	}
}

// lossTimeout is when a question that is not answered is given up.
const lossTimeout = time.Second

// send asks a new question in each free slot.
func (c *dnsClient) send(conn udp.Conn, now time.Time) {
	c.out = c.out[:0]
	for i := range c.slots {
		s := &c.slots[i]
		if !s.sent.IsZero() {
			if now.Sub(s.sent) < lossTimeout {
				continue
			}
			c.lost++
		}
		s.id += 16
		s.sent = now
		s.question = appendQuestion(s.question[:0], s.id, rand.Uint64N(c.run.names))
		c.out = append(c.out, udp.Datagram{Data: s.question, Peer: c.run.server})
	}
	if len(c.out) > 0 {
		_ = conn.Send(c.out) // what is lost will be counted as such
	}
}

// take counts an answer; it must have a record.
func (c *dnsClient) take(data []byte, now time.Time) error {
	if len(data) < 12 {
		return fmt.Errorf("an answer of %d bytes", len(data))
	}
	id := binary.BigEndian.Uint16(data)
	i := int(id % 16)
	if i >= len(c.slots) || c.slots[i].id != id || c.slots[i].sent.IsZero() {
		return nil // of a question that was given up
	}
	// RFC 1035, section 4.1.1: the code of the answer, and how many records it has.
	if code, records := data[3]&0xf, binary.BigEndian.Uint16(data[6:]); code != 0 || records == 0 {
		return fmt.Errorf("an answer with code %d and %d records", code, records)
	}
	_ = c.latency.RecordValue(max(1, now.Sub(c.slots[i].sent).Microseconds()))
	c.slots[i].sent = time.Time{}
	return nil
}

// appendQuestion appends a query for the SRV records of room n (RFC 1035,
// section 4.1; RFC 2782).
func appendQuestion(dst []byte, id uint16, n uint64) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = append(dst, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) // a standard query with one question
	for label := range strings.SplitSeq(roomName(n)+"."+domain, ".") {
		dst = append(dst, byte(len(label)))
		dst = append(dst, label...)
	}
	return append(dst, 0, 0, 33, 0, 1) // the root; SRV; IN
}
