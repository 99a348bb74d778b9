package player

import "testing"

// TestGapIsToldOnce: the caller reads so slowly that there is room for what was
// lost, but not yet for what follows it.
func TestGapIsToldOnce(t *testing.T) {
	peer := &tagged{sid: []byte("sid")}
	s := newOfflineSession(t, peer)
	for range messageBuffer - 1 {
		s.messages <- ""
	}
	hear := func() {
		t.Helper()
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := peer.took(s, []byte("@sid=sid;ev=1;lost=12 Fire!"), s.addrs[0]); err != nil {
			t.Fatal(err)
		}
	}
	hear()
	if len(s.messages) != messageBuffer || peer.told != 0 {
		t.Fatalf("%d messages, event %d told", len(s.messages), peer.told)
	}
	for range messageBuffer - 1 {
		<-s.messages
	}
	hear()
	hear()
	if got := <-s.messages; got != "… 12 messages were lost …" {
		t.Errorf("told %q", got)
	}
	if got := <-s.messages; got != "Fire!" || len(s.messages) != 0 || peer.told != 1 {
		t.Errorf("told %q and %d more, event %d", got, len(s.messages), peer.told)
	}
}
