package storage

import (
	"iter"

	"foyer"
)

// A Lister is the method of a [Store] that All needs.
type Lister interface {
	List(after foyer.Name, limit int) ([]foyer.Registration, error)
}

// All returns every registration of s in ascending order of names, read in
// pages of the given size: each page is one state of the store, and between
// pages it may change. An error ends the sequence.
func All(s Lister, page int) iter.Seq2[foyer.Registration, error] { return AllAfter(s, "", page) }

// AllAfter is All for the names greater than after.
func AllAfter(s Lister, after foyer.Name, page int) iter.Seq2[foyer.Registration, error] {
	return func(yield func(foyer.Registration, error) bool) {
		after := after // each time that the sequence is read
		for {
			regs, err := s.List(after, page)
			if err != nil {
				yield(foyer.Registration{}, err)
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
