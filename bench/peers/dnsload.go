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
// program itself, in a process on the load's core: 256 clients that do just
// what those of `registry bench` do, with questions about random rooms.

// askDNS is the first argument that makes this program the load.
const askDNS = "ask-dns"

func dnsLoad(ctx context.Context, s *stage, p *process, r *rooms) (*workbench.Result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var result workbench.Result
	return &result, workbench.RunLoad(exec.CommandContext(ctx, self, askDNS,
		"-server", p.addr(), "-names", fmt.Sprint(r.count), "-duration", s.duration()), &result)
}

type dnsRun struct {
	server   netip.AddrPort
	names    uint64
	clients  int
	deadline time.Time
}

// askDNSMain is the load's own main function.
func askDNSMain(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet(askDNS, flag.ContinueOnError)
	server := flags.String("server", "127.0.0.1:53", "the name server")
	names := flags.Uint64("names", 1, "how many rooms it knows")
	clients := flags.Int("clients", 256, "sockets, with one question in flight each")
	duration := flags.Duration("duration", 2*time.Second, "how long to ask")
	if err := flags.Parse(args); err != nil {
		return err
	}
	address, err := netip.ParseAddrPort(*server)
	if err != nil {
		return err
	}
	start := time.Now()
	run := dnsRun{address, *names, *clients, start.Add(*duration)}
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
	var question []byte
	for id := uint16(0); ; id++ {
		sent := time.Now()
		if sent.After(c.run.deadline) {
			return nil
		}
		question = appendQuestion(question[:0], id, rand.Uint64N(c.run.names))
		_ = conn.Send([]udp.Datagram{{Data: question, Peer: c.run.server}}) // what is lost will be counted as such
		_ = conn.SetReadDeadline(sent.Add(time.Second))
		if err := c.await(conn, in, id); errors.Is(err, os.ErrDeadlineExceeded) {
			c.lost++
			continue
		} else if err != nil {
			return err
		}
		_ = c.latency.RecordValue(max(1, time.Since(sent).Microseconds()))
	}
}

// await waits for the answer with the given id; it must have a record.
func (c *dnsClient) await(conn udp.Conn, in []udp.Datagram, id uint16) error {
	for {
		n, err := conn.Receive(in)
		if err != nil {
			return err
		}
		for _, d := range in[:n] {
			if len(d.Data) < 12 || binary.BigEndian.Uint16(d.Data) != id {
				continue // of a question that was given up
			}
			// RFC 1035, section 4.1.1: the code of the answer, and how many records it has.
			if code, records := d.Data[3]&0xf, binary.BigEndian.Uint16(d.Data[6:]); code != 0 || records == 0 {
				return fmt.Errorf("answers: code %d, %d records", code, records)
			}
			return nil
		}
	}
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
