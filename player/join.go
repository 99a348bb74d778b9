package player

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"

	"foyer"
	"foyer/client"
	"foyer/internal/exchange"
	"foyer/internal/seam"
	"foyer/internal/udp"
)

// maxAddresses is how many addresses of a room's host are tried.
const maxAddresses = 4

// Options configure how rooms are spoken to. The zero value is fine for
// playing.
type Options struct {
	// Plain uses the plain dialect only: no tags are ever sent.
	Plain bool

	// Logger gets, at level debug, what is otherwise invisible: ignored
	// datagrams and the dialects of rooms. Nil discards it.
	Logger *slog.Logger

	seam seam.Seam // for tests
}

func init() {
	seam.Player = func(options any, s seam.Seam) { options.(*Options).seam = s }
}

// Join enters the room at addr as player and returns the session and the room's
// summary. Its error is a [*foyer.Error] if the room does not let the player
// in, or a [*client.NoAnswerError] if it does not answer.
func Join(ctx context.Context, addr foyer.Address, player string, o Options) (*Session, string, error) {
	addr, err := foyer.ParseAddress(string(addr))
	if err != nil {
		return nil, "", err
	}
	return enter(ctx, addr, "room "+addr.HostPort(), player, o)
}

// enter is Join; errors call the room by the given name.
func enter(ctx context.Context, addr foyer.Address, room, player string, o Options) (*Session, string, error) {
	name, err := foyer.ParseName(player)
	if err != nil {
		return nil, "", err
	}
	if o.seam.Listen == nil {
		o.seam.Listen = func() (udp.PacketConn, error) { return net.ListenUDP("udp", nil) }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := exchange.Limit(ctx)
	defer cancel()
	addrs, err := exchange.LookupHost(ctx, o.seam.Resolve, addr.HostPort(), maxAddresses)
	if err != nil {
		return nil, "", &client.NoAnswerError{Peer: room, Err: err}
	}
	command := "join " + string(name)
	if !o.Plain {
		s, summary, err := join(ctx, room, addrs, command, &tagged{}, o)
		if !errors.Is(err, errOnlyPlain) {
			return s, summary, err
		}
		o.Logger.Debug("a room speaks only the plain dialect", "room", addr)
	}
	// From a new socket: replies to tagged attempts may still be in flight.
	return join(ctx, room, addrs, command, &plain{}, o)
}

func join(ctx context.Context, room string, addrs []netip.AddrPort, command string, peer talker, o Options) (*Session, string, error) {
	conn, err := o.seam.Listen()
	if err != nil {
		return nil, "", err
	}
	s := &Session{
		log:      o.Logger,
		chance:   exchange.NewChance(o.seam.Rand),
		name:     room,
		conn:     conn,
		peer:     peer,
		turn:     make(chan struct{}, 1),
		messages: make(chan string, messageBuffer),
		over:     make(chan struct{}),
		addrs:    addrs,
	}
	s.reader.Go(s.read)
	r, err := s.exchange(ctx, command)
	if err == nil && !r.OK {
		err = &foyer.Error{Code: r.Code, Text: r.Text}
	}
	if err != nil {
		s.Close()
		return nil, "", err
	}
	return s, r.Text, nil
}
