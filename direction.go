package foyer

import "slices"

// A Direction is a way out of a room.
type Direction uint8

// The directions.
const (
	North Direction = iota
	South
	East
	West
	Up
	Down
)

var directionNames = []string{"north", "south", "east", "west", "up", "down"}

// Directions returns every direction, in the order in which people see them
// listed.
func Directions() []Direction { return []Direction{North, South, East, West, Up, Down} }

// ParseDirection reads what [Direction.String] writes.
func ParseDirection(s string) (Direction, bool) {
	i := slices.Index(directionNames, s)
	return Direction(max(i, 0)), i >= 0
}

// String returns the direction as commands spell it: "north".
func (d Direction) String() string {
	if int(d) >= len(directionNames) {
		return "nowhere"
	}
	return directionNames[d]
}
