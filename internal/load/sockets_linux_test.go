package load

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Datagrams arrive as they were sent, also those that the kernel got as one.
func TestSocketsSendDatagrams(t *testing.T) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	s, err := Dial("udp", netip.MustParseAddrPort(server.LocalAddr().String()), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	data := make([]byte, 2048)
	for _, lengths := range [][]int{{20, 20, 20}, {30}, {10}, {20, 30, 30, 10, 10, 40}, {1400}, repeat(1400, 60), repeat(7, 100)} {
		var requests [][]byte
		for i, n := range lengths {
			requests = append(requests, bytes.Repeat([]byte{byte(i)}, n))
		}
		s.Send(0, requests)
		_ = server.SetReadDeadline(time.Now().Add(10 * time.Second))
		for i, want := range requests {
			n, err := server.Read(data)
			if err != nil || !bytes.Equal(data[:n], want) {
				t.Fatalf("datagram %d of %v is % x, %v", i, lengths, data[:n], err)
			}
		}
	}
}

func repeat(length, n int) (all []int) {
	for range n {
		all = append(all, length)
	}
	return all
}

// Each stream gets its own answers, and the end of one is an error.
func TestSocketsOfStreams(t *testing.T) {
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const streams = 3
	conns := make(chan net.Conn, streams)
	go func() {
		for range streams {
			c, err := server.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			conns <- c
			go func() { _, _ = io.Copy(c, c) }() // until it is closed
		}
	}()
	s, err := Dial("tcp", netip.MustParseAddrPort(server.Addr().String()), streams, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range streams {
		s.Send(i, [][]byte{{byte('a' + i)}, {'!'}})
	}
	var got [streams]string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && (len(got[0]) < 2 || len(got[1]) < 2 || len(got[2]) < 2); {
		if err := s.Receive(time.Second, func(i int, data [][]byte) { got[i] += string(bytes.Join(data, nil)) }); err != nil {
			t.Fatal(err)
		}
	}
	if got != [streams]string{"a!", "b!", "c!"} {
		t.Errorf("the answers are %q", got)
	}
	(<-conns).Close()
	if err := s.Receive(10*time.Second, func(int, [][]byte) {}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end of a stream is %v", err)
	}
}
