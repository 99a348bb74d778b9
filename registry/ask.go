package main

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"strconv"
	"time"

	"foyer"
	"foyer/admin"
	"foyer/discovery"
	"foyer/storage"
	"foyer/storage/bolt"
)

// ask returns what server yields of the registry that holds the store, or what read
// finds in the file if no registry is running. server is called once for all.
func ask[T any](ctx context.Context, store *storeFlag, server func(*adminClient) iter.Seq2[T, error],
	read func(*bolt.Store) iter.Seq2[T, error],
) (all iter.Seq2[T, error], err error) {
	err = store.eitherWay(ctx, func(client *adminClient) (err error) {
		all, err = begun(server(client))
		return err
	}, func() error {
		file, err := bolt.OpenReadOnly(store.path)
		if err != nil {
			return err
		}
		all = func(yield func(T, error) bool) {
			defer file.Close()
			for v, err := range read(file) {
				if !yield(v, err) || err != nil {
					return
				}
			}
		}
		return nil
	})
	return all, err
}

// begun reads the first of a sequence, and returns its error if it has one.
func begun[T any](all iter.Seq2[T, error]) (iter.Seq2[T, error], error) {
	next, stop := iter.Pull2(all)
	v, err, ok := next()
	if err != nil {
		stop()
		return nil, err
	}
	return func(yield func(T, error) bool) {
		defer stop()
		for ok && yield(v, err) && err == nil {
			v, err, ok = next()
		}
	}, nil
}

// each yields the parts of one answer to a GET.
func each[T, A any](ctx context.Context, client *adminClient, path string, query url.Values, parts func(A) []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		answer, err := get[A](ctx, client, path, query)
		if err != nil {
			var none T
			yield(none, err)
			return
		}
		for _, v := range parts(answer) {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// change changes a store: through the registry that holds it, or in the file if
// no registry is running. It does not create the file.
func change(ctx context.Context, store *storeFlag, server func(*adminClient) error,
	write func(tx storage.Tx, now time.Time) error,
) error {
	return store.eitherWay(ctx, server, func() error {
		if err := store.exists(); err != nil {
			return err
		}
		return withFile(ctx, store.path, func(update updater) error {
			return update(func(tx storage.Tx, now storage.Instant) error { return write(tx, now.Wall) })
		})
	})
}

// An updater runs a function in a transaction.
type updater = func(func(storage.Tx, storage.Instant) error) error

// withFile opens the file of a registry that is not running, or a new one, for fn
// to change until ctx ends.
func withFile(ctx context.Context, path string, fn func(updater) error) (err error) {
	s, err := bolt.Open(path, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return fn(func(change func(storage.Tx, storage.Instant) error) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := storage.Instant{Wall: wallOf(s), Lease: s.Last().Lease}
		return s.Update(now, func(tx storage.Tx) error { return change(tx, now) })
	})
}

// eitherWay calls server, and if no registry is running on the store, file.
func (f *storeFlag) eitherWay(ctx context.Context, server func(*adminClient) error, file func() error) error {
	// A registry that is starting or stopping may already, or still, hold the
	// file without a socket.
	for attempt := 0; ; attempt++ {
		err := server(newAdminClient(f.socket()))
		if !errors.Is(err, errNoServer) {
			return err
		}
		err = file()
		if !errors.Is(err, storage.ErrLocked) || attempt > 0 || ctx.Err() != nil {
			return f.hint(err)
		}
	}
}

// registrations returns the rows of a store whose names begin with prefix.
func registrations(ctx context.Context, store *storeFlag, prefix string) (iter.Seq2[discovery.Row, error], error) {
	return ask(ctx, store, func(client *adminClient) iter.Seq2[discovery.Row, error] { return pages(ctx, client, prefix) },
		func(s *bolt.Store) iter.Seq2[discovery.Row, error] { return discovery.Rows(s, foyer.Name(prefix)) })
}

// pages reads the rooms of a registry page by page.
func pages(ctx context.Context, client *adminClient, prefix string) iter.Seq2[discovery.Row, error] {
	return func(yield func(discovery.Row, error) bool) {
		query := url.Values{"prefix": {prefix}, "limit": {strconv.Itoa(admin.MaxRooms)}}
		for after := ""; ; {
			query.Set("after", after)
			page, err := get[admin.Rooms](ctx, client, "/v1/rooms", query)
			if errors.Is(err, errNoServer) && after != "" {
				err = errBrokeOff
			}
			if err != nil {
				yield(discovery.Row{}, err)
				return
			}
			for _, row := range page.Rooms {
				if !yield(row, nil) {
					return
				}
			}
			if after = string(page.Next); after == "" {
				return
			}
		}
	}
}

// wallOf returns the time by the clock of a registry that is not running. That
// clock never goes backwards.
func wallOf(s *bolt.Store) time.Time {
	now := time.Now().UTC().Truncate(time.Millisecond)
	if last := s.Last().Wall; last.After(now) {
		return last.Truncate(time.Millisecond)
	}
	return now
}
