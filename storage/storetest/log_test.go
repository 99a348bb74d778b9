package storetest

import (
	"errors"
	"testing"

	"foyer"
	"foyer/storage"
	"foyer/storage/engine"
)

func TestMemoryLog(t *testing.T) {
	TestLog(t, func(t *testing.T) func() engine.Log {
		l := NewMemoryLog()
		return func() engine.Log {
			l = l.Again()
			return l
		}
	})
}

func TestSharedLog(t *testing.T) {
	TestLog(t, func(t *testing.T) func() engine.Log {
		l := NewSharedLog(1)
		return func() engine.Log {
			l = l.Another()
			return l
		}
	})
}

// TestMemoryLogFaults sees to it that each fault does what it says, in the log and
// in a copy that was made of it.
func TestMemoryLogFaults(t *testing.T) {
	for fault, c := range map[Fault]struct {
		err     error
		happens bool
	}{
		None:     {nil, true},
		Refused:  {foyer.ErrUnavailable, false},
		Lost:     {storage.ErrUncertain, false},
		Kept:     {storage.ErrUncertain, true},
		Conflict: {engine.ErrConflict, false},
	} {
		t.Run(fault.String(), func(t *testing.T) {
			l := NewMemoryLog()
			l.Fail(None, fault)
			if err := l.Append(&engine.Batch{Group: []byte("first")}); err != nil {
				t.Fatal(err)
			}
			b := &engine.Batch{Position: 5, Group: []byte("second"), Pieces: map[string][]byte{"key": []byte("value")}, Needed: 3}
			if err := l.Append(b); !errors.Is(err, c.err) {
				t.Errorf("Append: %v, want %v", err, c.err)
			}
			end, head, pieces := uint64(5), uint64(0), 0
			if c.happens {
				end, head, pieces = 11, 3, 1
			}
			for _, l := range []*MemoryLog{l, l.Again(), l.Copy()} {
				if got, err := l.End(); err != nil || got != end || l.Head() != head || len(l.Pieces()) != pieces {
					t.Errorf("it goes from %d to %d, %v, with %d pieces; want %d to %d, %d", l.Head(), got, err, len(l.Pieces()), head, end, pieces)
				}
			}
			if err := l.Copy().Append(&engine.Batch{Position: end}); err != nil {
				t.Errorf("Append to a copy: %v", err)
			}
		})
	}
	l := NewMemoryLog()
	for _, fail := range []func(){func() { l.SetDown(true) }, func() { l.SetDown(false); l.Close() }} {
		fail()
		_, endErr := l.End()
		_, readErr := l.ReadAt(nil, 0)
		_, _, loadErr := l.Load(nil)
		for _, err := range []error{endErr, readErr, loadErr, l.Append(&engine.Batch{})} {
			if err == nil {
				t.Error("it can be reached")
			}
		}
	}
}
