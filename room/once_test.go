package room

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"foyer/internal/testenv"
)

// TestLateCopies: copies of requests arrive up to hundreds of requests late,
// far beyond what the room remembers, and out of order; each request takes
// effect once.
func TestLateCopies(t *testing.T) {
	rng := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	h := newHall(t, Options{})
	speaker, hearer := h.join("127.0.0.1:1", "Ann"), h.join("127.0.0.1:2", "Bob")
	h.heard("127.0.0.1:1")

	const sayings, overtake, late = 3000, maxReplies / 2, 300
	at := map[int][]string{} // what arrives when
	for k := range sayings {
		line := fmt.Sprintf("@id=%s;sid=%s say %d", h.id(), speaker, k)
		first := k + rng.IntN(overtake)
		at[first] = append(at[first], line)
		for range rng.IntN(4) {
			copied := first + rng.IntN(late)
			at[copied] = append(at[copied], line)
		}
	}
	said, refused := map[string]int{}, 0
	hear := func(texts []string) {
		for _, text := range texts {
			_, what, ok := strings.Cut(text, `Ann said "`)
			if !ok {
				t.Fatalf("heard %q", text)
			}
			said[what]++
		}
	}
	for i := range sayings + overtake + late {
		h.pass(time.Second / talkRate)
		for _, line := range at[i] {
			for _, reply := range h.put("127.0.0.1:1", line) {
				if strings.Contains(reply, "code=stale-request") {
					refused++
				} else if !strings.Contains(reply, " OK ") {
					t.Fatalf("%s: %s", line, reply)
				}
			}
			hear(h.heard("127.0.0.1:2"))
			h.put("127.0.0.1:2", fmt.Sprintf("@sid=%s;ack=%d ", hearer, h.sessions[hearer].lastEvent))
		}
	}
	for k := range sayings {
		if n := said[fmt.Sprintf(`%d".`, k)]; n != 1 {
			t.Errorf("%d was said %d times", k, n)
		}
	}
	if refused == 0 {
		t.Error("no copy came late enough to be refused")
	}
}

// TestBadNetworkByHand has two players talk over a network that loses, repeats
// and delays, without package player: ordered by number, one of them gets
// everything once.
func TestBadNetworkByHand(t *testing.T) {
	rng := rand.New(rand.NewPCG(testenv.Seed(t), 1))
	h := newHall(t, Options{})
	speaker, hearer := h.join("127.0.0.1:1", "Ann"), h.join("127.0.0.1:2", "Bob")
	h.heard("127.0.0.1:1")
	got := map[uint64]string{}
	acked := uint64(0)
	const sayings = 500
	for said := 0; len(got) < sayings; {
		if said < sayings && rng.IntN(3) == 0 {
			line := fmt.Sprintf("@id=%s;sid=%s say %d", h.id(), speaker, said)
			if reply := h.put("127.0.0.1:1", line); strings.Contains(reply[0], " OK ") {
				said++ // otherwise it was too fast
			}
		}
		h.pass(firstResend / 4)
		events := h.heard("127.0.0.1:2")
		rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		for _, line := range events {
			if rng.IntN(5) == 0 {
				continue // lost
			}
			var number uint64
			var text string
			if _, err := fmt.Sscanf(line, `@sid=`+hearer+`;ev=%d Ann said "%s`, &number, &text); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if old, again := got[number]; again && old != text {
				t.Fatalf("event %d is %s and %s", number, old, text)
			}
			got[number] = text
		}
		for got[acked+1] != "" {
			acked++
		}
		if rng.IntN(5) > 0 {
			h.put("127.0.0.1:2", fmt.Sprintf("@sid=%s;ack=%d ", hearer, acked))
		}
		if h.sessions[hearer] == nil || h.sessions[hearer].left {
			t.Fatal("Bob is gone")
		}
		h.put("127.0.0.1:1", "@sid="+speaker+";ack=0 ")
	}
	for k := range sayings {
		if want := fmt.Sprintf(`%d".`, k); got[uint64(k+1)] != want {
			t.Errorf("event %d is %q, want %q", k+1, got[uint64(k+1)], want)
		}
	}
}
