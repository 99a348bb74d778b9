package client

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newOffline(t)
		var peers []netip.AddrPort
		for i := range 4 {
			peers = append(peers, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(i)))
		}
		answered := func(i int, took time.Duration, attempts int) {
			c.health.of(peers[i]).answered(read, took, attempts)
		}
		expect := func(what string, want ...uint16) {
			t.Helper()
			ordered := slices.Clone(peers)
			c.order(ordered)
			var got []uint16
			for _, p := range ordered {
				got = append(got, p.Port())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, not %v", what, got, want)
			}
		}
		expect("at first", 0, 1, 2, 3)
		c.preferred = peers[2]
		expect("after a change at one of them", 2, 0, 1, 3)
		answered(1, 50*time.Millisecond, 1)
		expect("another one has answered, once", 2, 1, 0, 3)
		answered(2, 100*time.Millisecond, 1)
		expect("the preferred one takes twice as long", 2, 1, 0, 3)
		for range 20 {
			answered(2, 200*time.Millisecond, 1)
		}
		expect("much longer", 1, 2, 0, 3)
		c.preferred = peers[1]
		for pause := minPause; pause <= 4*maxPause; pause *= 2 {
			for range 100 { // many requests notice at once
				c.health.of(peers[1]).failed(time.Now())
			}
			expect("it is left alone", 2, 0, 3, 1)
			time.Sleep(min(pause, maxPause) - 1)
			expect("still", 2, 0, 3, 1)
			time.Sleep(time.Nanosecond)
			expect("its time is over", 1, 2, 0, 3)
		}
		answered(1, 50*time.Millisecond, 1)
		if h := c.health[peers[1]]; h.pause != 0 {
			t.Errorf("a pause of %v after an answer", h.pause)
		}
	})
}

func TestUsual(t *testing.T) {
	const unknown = 100 * time.Millisecond
	var h health
	expect := func(what string, least, most time.Duration) {
		t.Helper()
		if got := h.usual(read, unknown); got < least || got > most {
			t.Errorf("%s: %v", what, got)
		}
	}
	expect("no answer", unknown, unknown)
	h.answered(read, 500*time.Millisecond, 3)
	expect("the answer to one of three attempts", unknown, unknown)
	h.answered(read, 0, 1)
	expect("at once", minUsual, minUsual)
	h.answered(change, time.Second, 1)
	expect("a slow change", minUsual, minUsual)
	for range 100 {
		h.answered(read, 50*time.Millisecond, 1)
	}
	expect("50 ms, always", 50*time.Millisecond, 55*time.Millisecond)
	h.answered(read, 10*time.Millisecond, 2) // or a retry was faster
	expect("some time after a retry", 50*time.Millisecond, 55*time.Millisecond)
	for range 100 {
		h.answered(read, 150*time.Millisecond, 2)
	}
	expect("150 ms after a retry, always", 140*time.Millisecond, 160*time.Millisecond)
}

func TestHealthsAreBounded(t *testing.T) {
	h := healths{}
	for i := range 10 * maxHealths {
		h.of(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(i)))
		if len(h) > maxHealths {
			t.Fatalf("%d entries", len(h))
		}
	}
}
