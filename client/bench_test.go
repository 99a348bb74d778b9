package client_test

import (
	"bytes"
	"net"
	"testing"

	"foyer/client"
)

// BenchmarkLookup asks a registry on the loopback interface that does nothing
// but answer.
func BenchmarkLookup(b *testing.B) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	go func() {
		buffer := make([]byte, 2048)
		var out []byte
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			tags, _, _ := bytes.Cut(buffer[:n], []byte(" "))
			out = append(append(out[:0], tags...), " OK room://192.0.2.7:40001"...)
			conn.WriteToUDPAddrPort(out, from)
		}
	}()
	c, err := client.New(client.Options{Registries: []string{conn.LocalAddr().String()}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
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
