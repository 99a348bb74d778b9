//go:build linux

package workbench

import (
	"fmt"
	"slices"
)

// Median returns the median of v, which is not empty.
func Median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[len(s)/2] + s[(len(s)-1)/2]) / 2
}

// Short prints a figure with two or three significant digits.
func Short(x float64) string {
	switch {
	case x >= 1e6:
		return fmt.Sprintf("%.2fM", x/1e6)
	case x >= 1e4:
		return fmt.Sprintf("%.0fk", x/1e3)
	case x >= 1e3:
		return fmt.Sprintf("%.1fk", x/1e3)
	}
	return fmt.Sprintf("%.1f", x)
}

// Spread prints the median with minimum and maximum.
func Spread(v []float64) string {
	return fmt.Sprintf("%s (%s-%s)", Short(Median(v)), Short(slices.Min(v)), Short(slices.Max(v)))
}

// Count prints a number of names, "1 million".
func Count(n uint64) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%d million", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%d thousand", n/1000)
	}
	return fmt.Sprint(n)
}
