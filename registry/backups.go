package main

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"foyer/admin"
	"foyer/internal/command"
)

// backups are those that a registry makes by itself, into a folder: NAME-TIME.db, where
// NAME is that of the database without its ".db".
type backups struct {
	dir   string
	every time.Duration
	keep  int

	copies *copier
	log    *slog.Logger

	mu          sync.Mutex // guards what follows
	lastSuccess time.Time
	lastError   error // nil after a success
	failures    int
}

func (b *backups) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&b.dir, "backup-dir", "", "save a backup in this folder regularly")
	flags.DurationVar(&b.every, "backup-every", time.Hour, "how often to save one")
	flags.IntVar(&b.keep, "backup-keep", 24, "how many of them to keep; older ones are removed")
}

func (b *backups) check() error {
	switch {
	case b.every < time.Second:
		return command.Usagef("invalid value %v for --backup-every: it is at least 1s", b.every)
	case b.keep < 1:
		return command.Usagef("invalid value %d for --backup-keep: it is at least 1", b.keep)
	}
	return nil
}

// start makes backups until ctx ends, and returns a function that waits until the one
// that is being made is given up then.
func (b *backups) start(ctx context.Context, c *copier, log *slog.Logger) (wait func()) {
	if b.dir == "" {
		return func() {}
	}
	b.copies, b.log = c, log
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.run(ctx)
	}()
	return func() { <-ended }
}

// status says how the backups are doing; the last success may be that of an earlier
// process.
func (b *backups) status() admin.Backup {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := admin.Backup{LastSuccessAt: b.lastSuccess.UTC().Truncate(time.Second), Failures: b.failures}
	if b.lastError != nil {
		s.LastError = b.lastError.Error()
	}
	return s
}

func (b *backups) run(ctx context.Context) {
	b.removeTemporary()
	var last time.Time
	if names, err := b.list(); err == nil && len(names) > 0 {
		last, _ = b.timeOf(names[len(names)-1])
	}
	b.mu.Lock()
	b.lastSuccess = last
	b.mu.Unlock()
	// So that a registry that is often restarted makes as many as others.
	timer := time.NewTimer(min(max(0, b.every-time.Since(last)), b.every))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(b.every)
			b.save(ctx, time.Now())
		}
	}
}

func (b *backups) save(ctx context.Context, now time.Time) {
	to := filepath.Join(b.dir, b.prefix()+now.UTC().Format(backupTime)+backupSuffix)
	err := b.copies.Copy(ctx, nil, func(path string) error {
		return saveCopy(ctx, path, to, func(_, _ int64) {}, func(string) error { return nil })
	})
	if ctx.Err() != nil {
		return
	}
	b.note(now, err)
	if err != nil {
		b.log.Error("the backup failed", "file", to, "again_in", b.every, "err", err)
		return
	}
	b.log.Info("saved a backup", "file", to, "took", time.Since(now).Round(time.Millisecond))
	if err := b.prune(); err != nil {
		b.log.Warn("old backups could not be removed", "err", err)
	}
}

// note keeps how a backup went, for status.
func (b *backups) note(at time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lastError = err; err != nil {
		b.failures++
	} else {
		b.lastSuccess = at
	}
}

const backupSuffix = ".db"

func (b *backups) prefix() string {
	return strings.TrimSuffix(filepath.Base(b.copies.path), ".db") + "-"
}

// timeOf returns when a backup of this name was made.
func (b *backups) timeOf(name string) (time.Time, bool) {
	text, ours := strings.CutPrefix(name, b.prefix())
	text, alike := strings.CutSuffix(text, backupSuffix)
	at, err := time.Parse(backupTime, text)
	return at, ours && alike && err == nil
}

// list returns the names of the backups that are there, the oldest first.
func (b *backups) list() (names []string, err error) {
	entries, err := os.ReadDir(b.dir)
	for _, e := range entries {
		if _, ok := b.timeOf(e.Name()); ok && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

func (b *backups) prune() error {
	names, err := b.list()
	for _, name := range names[:max(0, len(names)-b.keep)] {
		err = cmp.Or(err, os.Remove(filepath.Join(b.dir, name)))
	}
	return err
}

// removeTemporary removes what a process that was killed has left of a backup.
func (b *backups) removeTemporary() {
	entries, _ := os.ReadDir(b.dir)
	for _, e := range entries {
		name, number, ok := strings.Cut(strings.TrimPrefix(e.Name(), "."), temporaryInfix)
		_, ours := b.timeOf(name)
		if ok && ours && e.Type().IsRegular() && strings.Trim(number, "0123456789") == "" {
			if err := os.Remove(filepath.Join(b.dir, e.Name())); err != nil {
				b.log.Warn("what is left of a backup could not be removed", "err", err)
			}
		}
	}
}
