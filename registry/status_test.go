package main

import (
	"maps"
	"strings"
	"testing"

	"foyer/admin"
)

// What is told a second is the average of the last ten samples, or of those there are.
func TestRatesOfStatus(t *testing.T) {
	old := admin.Sample{Lookups: 1e6, Registers: 1e6, Commits: 1e6}
	last := admin.Sample{Lookups: 100, Registers: 20, Renewals: 50, Deregisters: 10, Other: 1, Commits: 10}
	for _, c := range []struct {
		rates admin.Rates
		share float64
	}{
		{admin.Rates{IntervalSeconds: 1}, 0},
		{admin.Rates{IntervalSeconds: 1, Samples: []admin.Sample{last}}, 1},
		{admin.Rates{IntervalSeconds: 1, Samples: []admin.Sample{old, last, {}, {}, {}, {}, {}, {}, {}, {}, {}}}, 0.1},
		{admin.Rates{IntervalSeconds: 2, Samples: []admin.Sample{last, {}}}, 0.25},
	} {
		s := &status{Running: true, Status: admin.Status{Ready: true}}
		s.average(&c.rates)
		want := map[string]float64{"lookup": 100 * c.share, "register": 20 * c.share, "renew": 50 * c.share, "deregister": 10 * c.share, "other": c.share}
		if !maps.Equal(s.PerSecond, want) || s.CommitsPerSecond != 10*c.share {
			t.Errorf("%d samples: %v and %v, want %v", len(c.rates.Samples), s.PerSecond, s.CommitsPerSecond, want)
		}
		var screen strings.Builder
		if err := s.print(&screen); err != nil {
			t.Error(err)
		}
		if c.share == 0.1 && !strings.Contains(screen.String(), "requests   18.1/s: lookup 10.0, register 2.0, renew 5.0, deregister 1.0, other 0.1\ncommits    1.0/s\n") {
			t.Errorf("the screen is:\n%s", screen.String())
		}
	}
}

func TestByteSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0.0 KiB", 512: "0.5 KiB", 1 << 20: "1.0 MiB", 3 << 29: "1.5 GiB", 1 << 50: "1024.0 TiB"} {
		if got := byteSize(n); got != want {
			t.Errorf("%d bytes are %s, want %s", n, got, want)
		}
	}
}
