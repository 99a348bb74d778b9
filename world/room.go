package world

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"foyer"
	"foyer/wire"
)

// Limits of a room.
const (
	// MaxPlayers is the most players in a room. Everything said there is sent
	// to each of them.
	MaxPlayers = 256

	// MaxThings is the most things that a room accounts for: those lying in it
	// and those that tracked players took from it.
	MaxThings = 512

	// MaxDescription is the longest description, in bytes.
	MaxDescription = 512

	// MaxText is the longest text that a room returns, in bytes, so that it
	// fits into one datagram with the tags that package room puts before it. A
	// summary that would be longer ends with the number of things left out.
	MaxText = 1150
)

// A Reply is the outcome of a command, and what is said about it.
type Reply struct {
	OK     bool       // it was carried out
	Code   foyer.Code // why a join was refused: bad-name, name-taken, or busy if the room is full
	Text   string     // told to the player who gave the command
	Notice string     // told to every other player in the room, unless empty
	Left   bool       // the player was in the room and now is not
	Took   bool       // and took along things from here
}

// A Room is the state of one room.
type Room struct {
	name        foyer.Name
	description string
	exits       map[foyer.Direction]foyer.Name

	things  []string    // lying here, in the order in which they came; bounded by MaxThings
	players []*presence // in the order in which they came; bounded by MaxPlayers
	held    int         // things that tracked players took from here, in all
}

// presence is one player in the room.
type presence struct {
	name    Player
	tracked bool
	held    []string // what a tracked player took here and still has; counted in Room.held
}

// Exits returns where the room's exits lead.
func (r *Room) Exits() map[foyer.Direction]foyer.Name { return maps.Clone(r.exits) }

// New returns a room with these things in it and no players. The description is
// UTF-8, without control characters other than line breaks.
func New(name foyer.Name, description string, exits map[foyer.Direction]foyer.Name, things []string) (*Room, error) {
	r := &Room{name: name, description: description, exits: maps.Clone(exits)}
	switch {
	case strings.TrimSpace(description) == "":
		return nil, errors.New("the description is empty")
	case len(description) > MaxDescription:
		return nil, fmt.Errorf("the description is longer than %d bytes", MaxDescription)
	case !isText(description, "\n"):
		return nil, errors.New("the description is not UTF-8 or has control characters")
	case len(things) > MaxThings:
		return nil, fmt.Errorf("there are more than %d items", MaxThings)
	}
	for _, thing := range things {
		n, err := foyer.ParseName(thing)
		if err != nil {
			return nil, fmt.Errorf("item %q: %w", thing, err)
		}
		r.things = append(r.things, string(n))
	}
	return r, nil
}

// Name returns the room's name.
func (r *Room) Name() foyer.Name { return r.name }

// Players returns the names of those who are in the room, in the order in which
// they came.
func (r *Room) Players() []Player {
	names := make([]Player, len(r.players))
	for i, p := range r.players {
		names[i] = p.name
	}
	return names
}

// Join lets a player in. The room records what a tracked player takes in it,
// and gets it back when that player disappears; players who are not tracked
// keep account of their things themselves.
//
// The name is as the player typed it; player is its canonical form.
func (r *Room) Join(name string, tracked bool) (player Player, reply Reply) {
	player, err := ParsePlayer(name)
	switch {
	case err != nil:
		return "", Reply{Code: foyer.BadName, Text: wire.CannotJoin + err.Error()}
	case r.find(player) != nil:
		return "", Reply{Code: foyer.NameTaken, Text: string(player) + wire.IsHere}
	case len(r.players) >= MaxPlayers:
		return "", Reply{Code: foyer.Busy, Text: wire.RoomFull}
	}
	r.players = append(r.players, &presence{name: player, tracked: tracked})
	return player, Reply{
		OK:     true,
		Text:   r.Summary(player),
		Notice: string(player) + wire.Entered,
	}
}

// Do carries out a command, other than Join, of a player who is in the room.
func (r *Room) Do(player Player, c Command) Reply {
	p := r.find(player)
	if p == nil {
		return Reply{Text: wire.InvalidCommand}
	}
	switch c.Verb {
	case Look:
		return Reply{OK: true, Text: r.Summary(player)}
	case Take:
		return r.take(p, c.Text)
	case Drop:
		return r.drop(p, c.Text)
	case Say:
		return r.say(p, c.Text)
	case Go:
		return r.leave(p, c.Direction)
	case Exit:
		return Reply{OK: true, Text: wire.Goodbye, Notice: r.Lose(player), Left: true}
	}
	return Reply{Text: wire.InvalidCommand}
}

// Lose removes a player who has disappeared, or who leaves by exit. What the
// room knows them to hold is dropped in it. It returns what the others are
// told.
func (r *Room) Lose(player Player) (notice string) {
	p := r.find(player)
	if p == nil {
		return ""
	}
	r.things = append(r.things, p.held...) // within MaxThings, which counts what is held
	r.remove(p)
	return string(player) + wire.LeftGame
}

func (r *Room) take(p *presence, name string) Reply {
	thing, ok := canonicalThing(name)
	if !ok {
		return Reply{Text: wire.InvalidCommand}
	}
	i := slices.Index(r.things, thing)
	if i < 0 {
		return Reply{Text: thing + wire.CannotTake}
	}
	r.things = slices.Delete(r.things, i, i+1)
	if p.tracked {
		p.held = append(p.held, thing)
		r.held++
	}
	return Reply{OK: true, Text: thing + wire.Taken}
}

// drop trusts the player to hold the thing, which may come from another room.
// See docs/decisions/0010-what-players-carry.md.
func (r *Room) drop(p *presence, name string) Reply {
	thing, ok := canonicalThing(name)
	if !ok {
		return Reply{Text: wire.InvalidCommand}
	}
	if i := slices.Index(p.held, thing); i >= 0 {
		p.held = slices.Delete(p.held, i, i+1)
		r.held--
	} else if len(r.things)+r.held >= MaxThings {
		return Reply{Text: wire.NoSpaceHere + thing}
	}
	r.things = append(r.things, thing)
	return Reply{OK: true, Text: thing + wire.Dropped}
}

// canonicalThing returns the canonical form of a thing's name. What is not a
// valid name must not be echoed either.
func canonicalThing(name string) (string, bool) {
	n, err := foyer.ParseName(name)
	return string(n), err == nil
}

func (r *Room) say(p *presence, text string) Reply {
	if text == "" {
		return Reply{Text: wire.SayWhat}
	}
	reply := Reply{
		OK:     true,
		Text:   wire.YouSaid + text + wire.EndOfSaying,
		Notice: string(p.name) + wire.Said + text + wire.EndOfSaying,
	}
	if len(reply.Text) > MaxText || len(reply.Notice) > MaxText {
		return Reply{Text: wire.TooLong}
	}
	return reply
}

// leave lets a player go to the next room with what they hold.
func (r *Room) leave(p *presence, d foyer.Direction) Reply {
	next, ok := r.exits[d]
	if !ok {
		return Reply{Text: wire.CannotGo(d)}
	}
	r.remove(p)
	return Reply{
		OK:     true,
		Text:   string(next),
		Notice: string(p.name) + wire.LeftHeading + d.String() + ".",
		Left:   true,
		Took:   len(p.held) > 0,
	}
}

// remove takes out a player, and what they hold out of the count.
func (r *Room) remove(p *presence) {
	r.held -= len(p.held)
	r.players = slices.DeleteFunc(r.players, func(q *presence) bool { return q == p })
}

func (r *Room) find(player Player) *presence {
	for _, p := range r.players { // with MaxPlayers a map does not pay
		if p.name == player {
			return p
		}
	}
	return nil
}

// Summary returns what player sees of the room: its name, its description, and
// what is in it: things first, then players other than player, who need not be
// in the room.
func (r *Room) Summary(player Player) string {
	var b strings.Builder
	b.WriteString(string(r.name))
	b.WriteString("\n\n")
	b.WriteString(r.description)
	b.WriteString("\n\n")

	lines := slices.Clone(r.things)
	for _, p := range r.players {
		if p.name != player {
			lines = append(lines, string(p.name))
		}
	}
	switch len(lines) {
	case 0:
		b.WriteString(wire.EmptyRoom)
	case 1:
		b.WriteString(wire.InThisRoom + "is:")
	default:
		b.WriteString(wire.InThisRoom + "are:")
	}
	for _, line := range fitting(lines, MaxText-b.Len()) {
		b.WriteString("\n  ")
		b.WriteString(line)
	}
	return b.String()
}

// fitting returns lines or, if they take more than limit bytes, as many as fit
// with a last one that counts the rest.
func fitting(lines []string, limit int) []string {
	const indent = len("\n  ")
	const rest = indent + len("and 1000 more")
	size, fits := 0, 0
	for _, line := range lines {
		size += indent + len(line)
		if size <= limit-rest {
			fits++
		}
	}
	if size <= limit {
		return lines
	}
	return append(lines[:fits:fits], "and "+strconv.Itoa(len(lines)-fits)+" more")
}
