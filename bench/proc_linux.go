package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"foyer/internal/load"
	"foyer/internal/workbench"
)

// written returns how many bytes the server has made the kernel write to disk.
func written(s *workbench.Server) (uint64, error) {
	return procField(fmt.Sprintf("/proc/%d/io", s.Cmd.Process.Pid), "write_bytes:")
}

// memory prints the server's memory beside the page cache, for each name.
func (b *bench) memory(reg *workbench.Server, of string) error {
	name := "memory for a name" + of
	if !b.wanted(name) {
		return nil
	}
	kb, err := procField(fmt.Sprintf("/proc/%d/status", reg.Cmd.Process.Pid), "RssAnon:")
	if err != nil {
		return err
	}
	printValue(name, float64(kb)*1024/float64(b.names), "B", 400)
	return nil
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

// opening compares the time from starting a registry until its first answer
// with a cursor's walk through the same rooms, in a process of its own as well.
func (b *bench) opening(ctx context.Context, path, of string) error {
	r := "opening until the first answer" + of
	if !b.wanted(r) {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var walks, opens []float64
	for range b.runs {
		start := time.Now()
		c := exec.CommandContext(ctx, self)
		c.Env = append(os.Environ(), "FOYER_BENCH_WALK="+path)
		c.Stderr = os.Stderr
		if err := c.Run(); err != nil {
			return fmt.Errorf("walking through %s: %w", path, err)
		}
		walks = append(walks, time.Since(start).Seconds()*1000)

		start = time.Now()
		reg, err := b.bin.StartRegistry(ctx, path)
		if err != nil {
			return err
		}
		if err := firstAnswer(reg.Addr); err != nil {
			return err
		}
		opens = append(opens, time.Since(start).Seconds()*1000)
		reg.Stop()
	}
	fmt.Printf("%-52s %19s ms %19s ms %8.3f <= 3\n", r, workbench.Spread(walks), workbench.Spread(opens), workbench.Median(opens)/workbench.Median(walks))
	return nil
}

// firstAnswer waits until the registry at addr finds the first room.
func firstAnswer(addr string) error {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write(load.AppendName([]byte("LOOKUP "), 0)); err != nil {
		return err
	}
	reply := make([]byte, 1500)
	n, err := c.Read(reply)
	if err == nil && !strings.HasPrefix(string(reply[:n]), "OK room://") {
		err = fmt.Errorf("the first look-up got %q", reply[:n])
	}
	return err
}

// walk is what opening is compared with: every room, once, through a cursor.
func walk(path string) error {
	db, err := bbolt.Open(filepath.Clean(path), 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		rooms, size := tx.Bucket([]byte("rooms")).Cursor(), 0
		for k, v := rooms.First(); k != nil; k, v = rooms.Next() {
			size += len(k) + len(v)
		}
		return nil
	})
}
