//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/internal/load"
	"foyer/internal/workbench"
)

// The store of a subject is seen from outside only: by what its process does and
// by its file. So revisions with different stores compare.

// written returns how many bytes the server has made the kernel write to disk:
// whole pages (write_bytes), which is more than it handed over (wchar).
func written(s *workbench.Server) (uint64, error) {
	return procField(fmt.Sprintf("/proc/%d/io", s.Cmd.Process.Pid), "write_bytes:")
}

// memory returns the server's memory beside the page cache, for each name.
func (b *bench) memory(_ context.Context, s *subject) (float64, error) {
	kb, err := procField(fmt.Sprintf("/proc/%d/status", s.large.Cmd.Process.Pid), "RssAnon:")
	return float64(kb) * 1024 / float64(b.names), err
}

func procField(path, field string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text), field)
	if words := strings.Fields(rest); ok && len(words) > 0 {
		return strconv.ParseUint(words[0], 10, 64)
	}
	return 0, fmt.Errorf("%s has no %s", path, field)
}

// lone returns how many bytes one of a thousand registrations makes the registry
// write that come one after the other.
func (b *bench) lone(ctx context.Context, s *subject) (float64, error) {
	const registrations = 1000
	before, err := written(s.small)
	if err != nil {
		return 0, err
	}
	first := 1<<37 + rand.Uint64N(1<<36) // beyond what other loads register
	if err := each(ctx, s.small, load.Options{Work: load.Fill, Flows: 1, Window: 1, Lines: 1, First: first, Names: registrations}); err != nil {
		return 0, err
	}
	after, err := written(s.small)
	if err == nil && after == before {
		err = errors.New("nothing was written to a disk: choose another folder (-dir)")
	}
	return float64(after-before) / registrations, err
}

// churn returns how large a file is whose registry has made a million changes
// with a hundred thousand names at any time, over that of one that has only
// registered the names that are left.
func (b *bench) churn(ctx context.Context, s *subject) (float64, error) {
	const live, step, changes = 100_000, 10_000, 1_000_000
	churned, err := b.fileSize(ctx, s, "churned.db", func(work func(load.Work, uint64, uint64) error) error {
		if err := work(load.Fill, 0, live); err != nil {
			return err
		}
		for n := uint64(0); n < changes/2; n += step {
			if err := errors.Join(work(load.Fill, live+n, step), work(load.Clear, n, step)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	fresh, err := b.fileSize(ctx, s, "fresh.db", func(work func(load.Work, uint64, uint64) error) error {
		return work(load.Fill, changes/2, live)
	})
	return churned / fresh, err
}

// fileSize returns the size of a registry's file after some work, when the
// registry has stopped.
func (b *bench) fileSize(ctx context.Context, s *subject, file string, do func(work func(w load.Work, first, names uint64) error) error) (float64, error) {
	path := filepath.Join(s.dir, file)
	reg, err := s.bin.StartRegistry(ctx, workbench.ServerCPU, path)
	if err != nil {
		return 0, err
	}
	defer reg.Stop()
	if err := do(func(w load.Work, first, names uint64) error {
		return each(ctx, reg, load.Options{Work: w, Flows: 16, Window: 16, Lines: 8, First: first, Names: names})
	}); err != nil {
		return 0, err
	}
	reg.Stop()
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()), nil
}

// each registers or deregisters rooms, every one of them.
func each(ctx context.Context, s *workbench.Server, o load.Options) (err error) {
	if o.Target, err = netip.ParseAddrPort(s.Addr); err != nil {
		return err
	}
	for {
		r, err := load.Run(ctx, o)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if r.Lost == 0 && r.Refused[foyer.Busy] == 0 {
			return refusal(r)
		}
		// What was not answered is asked for again; the rest is refused.
	}
}

// refusal is an error unless all was done, perhaps by a request whose answer was
// lost.
func refusal(r *load.Result) error {
	for code, n := range r.Refused {
		if code != foyer.NameTaken && code != foyer.UnknownName {
			return fmt.Errorf("%d requests were refused as %q", n, code)
		}
	}
	return nil
}

// opening returns how long a registry takes from its start until it has loaded
// its state, on all processors, in cursor walks through the same file. A registry
// that looks names up in the file before that registers none until then, so both
// are asked of it.
func (b *bench) opening(ctx context.Context, s *subject) (float64, error) {
	path := filepath.Join(s.dir, "large.db")
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	c := exec.CommandContext(ctx, self)
	c.Env = append(os.Environ(), walkVariable+"="+path)
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("walking through %s: %w", path, err)
	}
	walked := time.Since(start)

	start = time.Now()
	reg, err := s.bin.StartRegistry(ctx, workbench.AllCPUs, path)
	if err != nil {
		return 0, err
	}
	defer reg.Stop()
	if err := loaded(reg.Addr); err != nil {
		return 0, err
	}
	return time.Since(start).Seconds() / walked.Seconds(), nil
}

// loaded waits until the registry at addr finds the first room and registers new
// ones. It asks again, with a new name, as long as there is no answer.
func loaded(addr string) error {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	first := 1<<38 + rand.Uint64N(1<<36)
	for _, ask := range []struct {
		request func(n uint64) []byte
		reply   string
	}{
		{func(uint64) []byte { return load.AppendName([]byte("LOOKUP "), 0) }, "OK room://"},
		{func(n uint64) []byte {
			return load.AppendName(append(load.AppendAddress([]byte("REGISTER "), first+n), ' '), first+n)
		}, "OK"},
	} {
		if err := askUntil(c, ask.request, ask.reply); err != nil {
			return err
		}
	}
	return nil
}

func askUntil(c net.Conn, request func(n uint64) []byte, want string) error {
	const patience, again = time.Minute, 5 * time.Millisecond
	reply := make([]byte, 1500)
	got := "nothing"
	for n := range uint64(patience / again) {
		if _, err := c.Write(request(n)); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(again))
		for {
			size, err := c.Read(reply)
			if err != nil {
				break // it is asked again
			}
			got = string(reply[:size])
			if address, found := strings.CutPrefix(got, want); found && (address != "") == (want != "OK") {
				return nil
			}
		}
	}
	return fmt.Errorf("after %v %q got %q", patience, request(0), got)
}

// walkVariable names the file that this program walks through, instead of
// measuring, in its environment.
const walkVariable = "FOYER_BENCH_WALK"

// walk is what opening is compared with: everything in the file, once, through
// cursors. It looks at every cache line of the values: one that does not is
// several times faster where values take several pages than where they take none.
func walk(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		size := 0
		var through func(c *bbolt.Cursor)
		through = func(c *bbolt.Cursor) {
			for k, v := c.First(); k != nil; k, v = c.Next() {
				size += len(k) + len(v)
				for i := 0; i < len(v); i += 64 {
					size += int(v[i])
				}
				if v == nil { // a bucket
					through(c.Bucket().Bucket(k).Cursor())
				}
			}
		}
		through(tx.Cursor())
		return nil
	})
}
