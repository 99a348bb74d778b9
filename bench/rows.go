//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"

	"foyer/internal/workbench"
)

const fewNames = 10_000

func onSmall(s *subject) *workbench.Server { return s.small }
func onLarge(s *subject) *workbench.Server { return s.large }

// The rows that others are made of.
const (
	fewLookups       = "look-ups, 10 thousand names"
	fewRegistrations = "registrations, 256 in flight, empty store"
)

// versus is a row of requests a second, against look-ups of the floor.
func (b *bench) versus(name string, on func(*subject) *workbench.Server, target float64, load []string) row {
	return row{name: name, of: b.onRegistry(on, perSecond, load), floor: b.onFloor(perSecond, lookup(fewNames)), target: target}
}

// small measures registries with ten thousand names.
func (b *bench) small(ctx context.Context) error {
	one := lookup(fewNames, "--flows", "1", "--window", "1")
	many := lookup(fewNames, "--flows", "256", "--window", "1")
	rows := []row{
		b.versus(fewLookups, onSmall, 0.95, lookup(fewNames)),
		b.versus("look-ups, 16 to a datagram, 10 thousand names", onSmall, 10, lookup(fewNames, "--lines", "16")),
		{name: "one look-up in flight, p50", of: b.onRegistry(onSmall, p50, one), floor: b.onFloor(p50, one), target: 1.1, less: true, unit: "µs"},
		{name: "one look-up in flight, p99", of: b.onRegistry(onSmall, p99, one), floor: b.onFloor(p99, one), target: 1.25, less: true, unit: "µs"},
		{name: "look-ups, 256 clients, one in flight each", of: b.onRegistry(onSmall, perSecond, many), floor: b.onFloor(perSecond, many), target: 0.85},
		b.versus("renewals, 16 to a datagram, 10 thousand names", onSmall, 5,
			[]string{"--work", "renew", "--names", fmt.Sprint(fewNames), "--filled", "--lines", "16"}),
		{name: "bytes written for a lone registration", of: b.lone, once: true, unit: "B", target: 20 << 10, less: true},
	}
	if !b.wanted(names(rows)...) {
		return nil
	}
	for _, s := range b.subjects {
		reg, err := b.filled(ctx, s, "small.db", fewNames, "1h")
		if err != nil {
			return err
		}
		defer reg.Stop()
		s.small = reg
	}
	return b.measure(ctx, rows...)
}

// empty measures durable registrations on a store that is empty at first, a new
// one for each run.
func (b *bench) empty(ctx context.Context) error {
	r := b.versus(fewRegistrations, nil, 0.40, nil)
	r.of = func(ctx context.Context, s *subject) (float64, error) {
		s.stores++
		reg, err := b.filled(ctx, s, fmt.Sprintf("empty%d.db", s.stores), 1, "0s")
		if err != nil {
			return 0, err
		}
		defer reg.Stop()
		result, err := b.load(ctx, reg, register(1))
		if err != nil {
			return 0, err
		}
		return result.PerSecond, nil
	}
	return b.measure(ctx, r, row{name: "file after heavy churn, over a fresh one", of: b.churn, once: true, target: 3, less: true, free: true})
}

// large measures registries with a million names: work, disk, memory, opening.
func (b *bench) large(ctx context.Context) error {
	of := ", " + workbench.Count(b.names) + " names"
	lookups, registrations := "look-ups"+of, "registrations, 256 in flight"+of
	written := row{name: "bytes written for a registration" + of, once: true, unit: "B", target: 1536, less: true,
		of: func(_ context.Context, s *subject) (float64, error) { return s.wrote / s.made, nil }}
	register := b.versus(registrations, onLarge, 0.30, nil)
	register.of = b.registerLarge
	register.needed = b.wanted(written.name)
	rows := []row{
		b.versus(lookups, onLarge, 0.95, lookup(b.names)),
		b.versus("look-ups, 16 to a datagram"+of, onLarge, 6, lookup(b.names, "--lines", "16")),
		{name: "memory for a name" + of, of: b.memory, once: true, unit: "B", target: 300, less: true},
		register,
		written,
		b.share("look-ups, that many names over 10 thousand", lookups, fewLookups, 0.75),
		b.share("registrations, that many names over none", registrations, fewRegistrations, 0.5),
		{name: "opening, in cursor walks through its file" + of, of: b.opening, target: 15, less: true, free: true},
	}
	if !b.wanted(names(rows)...) {
		return nil
	}
	for _, s := range b.subjects {
		reg, err := b.filled(ctx, s, "large.db", b.names, "0s")
		if err != nil {
			return err
		}
		defer func() { reg.Stop() }()
		s.large = reg
	}
	last := len(rows) - 1
	if err := b.measure(ctx, rows[:last]...); err != nil {
		return err
	}
	for _, s := range b.subjects {
		s.large.Stop()
	}
	return b.measure(ctx, rows[last])
}

func names(rows []row) []string {
	var all []string
	for _, r := range rows {
		all = append(all, r.name)
	}
	return all
}

// filled starts a registry with so many names.
func (b *bench) filled(ctx context.Context, s *subject, file string, names uint64, ttl string) (*workbench.Server, error) {
	reg, err := s.bin.StartRegistry(ctx, workbench.ServerCPU, filepath.Join(s.dir, file))
	if err != nil {
		return nil, err
	}
	if err := b.bin.Fill(ctx, reg.Addr, names, ttl); err != nil {
		reg.Stop()
		return nil, err
	}
	return reg, nil
}

// registerLarge registers rooms with the large registry and notes what that wrote.
func (b *bench) registerLarge(ctx context.Context, s *subject) (float64, error) {
	before, err := written(s.large)
	if err != nil {
		return 0, err
	}
	result, err := b.load(ctx, s.large, register(b.names))
	if err != nil {
		return 0, err
	}
	after, err := written(s.large)
	if err != nil {
		return 0, err
	}
	s.wrote += float64(after - before)
	s.made += result.Requests
	return result.PerSecond, nil
}
