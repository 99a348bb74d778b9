package client_test

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"foyer"
	"foyer/client"
)

// newAnswering returns a Client of a registry on loopback that only answers.
func newAnswering(b *testing.B) *client.Client {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 2048)
		var out []byte
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			out = out[:0]
			for line := range bytes.Lines(buffer[:n]) {
				tags, _, _ := bytes.Cut(line, []byte(" "))
				out = append(append(out, tags...), " OK room://192.0.2.7:40001\n"...)
			}
			conn.WriteToUDPAddrPort(out, from)
		}
	}()
	c, err := client.New(client.Options{Registries: []string{conn.LocalAddr().String()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

func BenchmarkLookup(b *testing.B) {
	c := newAnswering(b)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Lookup(b.Context(), "Great Hall"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkLookupAll is the same for a thousand names at a time.
func BenchmarkLookupAll(b *testing.B) {
	c := newAnswering(b)
	names := make([]foyer.Name, 1000)
	for i := range names {
		names[i] = foyer.Name(fmt.Sprintf("Great Hall %d", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, f := range c.LookupAll(b.Context(), names) {
			if f.Err != nil {
				b.Fatal(f.Err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(names)), "ns/name")
}
