package load

import (
	"testing"

	"foyer"
)

// Rooms of a load have distinct names and addresses, in canonical form and all
// of the same length.
func TestNamesAndAddresses(t *testing.T) {
	const n = 200_000
	names, addresses := make(map[string]bool, n), make(map[string]bool, n)
	for _, first := range []uint64{0, 1 << 36} {
		for i := first; i < first+n/2; i++ {
			name, address := string(AppendName(nil, i)), string(AppendAddress(nil, i))
			if names[name] || addresses[address] {
				t.Fatalf("room %d has the name %s and the address %s of another one", i, name, address)
			}
			names[name], addresses[address] = true, true
			if len(name) != 21 || len(address) != len("room://10.100.100.100:10000") {
				t.Fatalf("room %d: %s, %s", i, name, address)
			}
			if a, err := foyer.ParseAddress(address); err != nil || string(a) != address {
				t.Fatalf("%s: %v", address, err)
			}
		}
	}
}

// A reply's id alone identifies its slot.
func TestIDs(t *testing.T) {
	for _, number := range []int{0, 1, 63, 64, maxWindow - 1} {
		for _, round := range []uint64{1, 77, roundMask} {
			for _, line := range []int{0, maxLines - 1} {
				text := string(appendID(nil, 1_700_000_000_000, 0xabc, tail(maxFlows-1, number, round, line)))
				f := flow{slots: make([]slot, maxWindow), order: []int{number}}
				f.slots[number].round = round
				if at := f.find([]byte("@id=" + text + " OK")); at != 0 {
					t.Fatalf("%s: slot %d, round %d, line %d is found at %d", text, number, round, line, at)
				}
				f.slots[number].round++
				if at := f.find([]byte("@id=" + text + " OK")); at != -1 {
					t.Fatalf("%s is taken for an answer to a later request", text)
				}
			}
		}
	}
}
