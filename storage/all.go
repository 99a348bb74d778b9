package storage

import (
	"iter"

	"foyer/room"
)

// All returns every registration of s in ascending order of names, read in
// pages of the given size: each page is one state of the store, and between
// pages it may change. An error ends the sequence.
func All(s interface {
	List(after room.Name, limit int) ([]room.Registration, error)
}, page int) iter.Seq2[room.Registration, error] {
	return func(yield func(room.Registration, error) bool) {
		var after room.Name
		for {
			regs, err := s.List(after, page)
			if err != nil {
				yield(room.Registration{}, err)
				return
			}
			for _, r := range regs {
				if !yield(r, nil) {
					return
				}
				after = r.Name
			}
			if len(regs) < page {
				return
			}
		}
	}
}
