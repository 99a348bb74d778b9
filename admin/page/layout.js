// Where rooms are on the map. A room is on a square of a grid; the room that an exit
// leads to is on the next one in that direction, if that can be.

const steps = {
  north: [0, -1], south: [0, 1], east: [1, 0], west: [-1, 0], up: [1, -1], down: [-1, 1],
};
export const directions = Object.keys(steps);

const most = 400; // rooms of a part of the world that is pushed apart; in larger ones a room that is in the way is passed

// layout returns { places, ways, apart, width, height }: places by name, each with x and y
// and whether it is a ghost, which is not registered; the ways between them; and the names
// of rooms that no way leads to or from.
export function layout(rooms) {
  const ways = waysOf(rooms);
  const neighbours = new Map();
  const note = (from, direction, to) => {
    if (!neighbours.has(from)) neighbours.set(from, []);
    neighbours.get(from).push([direction, to]);
  };
  for (const w of ways) {
    note(w.from, w.direction, w.to);
    note(w.to, opposite(w.direction), w.from);
  }
  const parts = [];
  const seen = new Set();
  for (const name of [...neighbours.keys()].sort()) {
    if (!seen.has(name)) parts.push(place(name, neighbours, seen));
  }
  parts.sort((a, b) => b.places.size - a.places.size);
  const { places, width, height } = pack(parts);
  for (const [name, p] of places) p.ghost = !rooms.has(name);
  const apart = [...rooms.keys()].filter((name) => !places.has(name)).sort();
  return { places, ways, apart, width, height };
}

// waysOf returns a way for each exit, or for two that lead to and fro.
export function waysOf(rooms) {
  const ways = [];
  for (const [from, room] of rooms) {
    for (const [direction, to] of Object.entries(room.exits ?? {})) {
      if (to === from) continue;
      const target = rooms.get(to);
      const back = Object.entries(target?.exits ?? {}).filter(([, name]) => name === from).map(([d]) => d);
      const straight = back.includes(opposite(direction));
      // One of the two exits stands for both.
      if (straight && (from > to || (from === to && direction > opposite(direction)))) continue;
      ways.push({ from, direction, to, kind: !target ? "nowhere" : back.length ? "both" : "oneway" });
    }
  }
  return ways;
}

export function opposite(direction) {
  return { north: "south", south: "north", east: "west", west: "east", up: "down", down: "up" }[direction];
}

// place gives the rooms that can be reached from one their squares, breadth first.
function place(start, neighbours, seen) {
  const places = new Map([[start, { x: 0, y: 0 }]]);
  const taken = new Map([["0,0", start]]);
  const queue = [start];
  const lines = []; // ways between rooms that have their squares
  seen.add(start);
  for (let i = 0; i < queue.length; i++) {
    const from = queue[i];
    const around = neighbours.get(from).sort(([a], [b]) => directions.indexOf(a) - directions.indexOf(b));
    for (const [direction, to] of around) {
      if (seen.has(to)) {
        if (places.has(to) && lines.length < most) lines.push([from, to]);
        continue;
      }
      seen.add(to);
      queue.push(to);
      put(to, from, steps[direction], places, taken, lines);
      lines.push([from, to]);
    }
  }
  return { places };
}

function put(name, from, [dx, dy], places, taken, lines) {
  const origin = places.get(from);
  let x = origin.x + dx;
  let y = origin.y + dy;
  const small = places.size <= most;
  if (taken.has(x + "," + y) || (small && isCrossed(x, y, places, lines))) {
    if (small) {
      push(places, taken, origin, dx, dy);
      x = origin.x + dx;
      y = origin.y + dy;
    } else {
      [x, y] = nearest(x, y, dx, dy, taken);
    }
  }
  places.set(name, { x, y });
  taken.set(x + "," + y, name);
}

// isCrossed returns whether a way goes straight over a square.
function isCrossed(x, y, places, lines) {
  return lines.some(([from, to]) => {
    const [a, b] = [places.get(from), places.get(to)];
    return (a.x === x && b.x === x && (a.y - y) * (b.y - y) < 0) || (a.y === y && b.y === y && (a.x - x) * (b.x - x) < 0);
  });
}

// push moves all that is beyond a room in a direction one further, which keeps what is
// north of what.
function push(places, taken, origin, dx, dy) {
  const { x, y } = origin;
  taken.clear();
  for (const [name, p] of places) {
    if (dx && (p.x - x) * dx > 0) p.x += dx;
    if (dy && (p.y - y) * dy > 0) p.y += dy;
    taken.set(p.x + "," + p.y, name);
  }
}

function nearest(x, y, dx, dy, taken) {
  for (let n = 1; ; n++) {
    for (let side = 0; side <= n; side++) {
      for (const s of [side, -side]) {
        const [u, v] = dx && dy ? [x + dx * (n - side), y + dy * side] : [x + dx * n + (dx ? 0 : s), y + dy * n + (dy ? 0 : s)];
        if (!taken.has(u + "," + v)) return [u, v];
      }
    }
  }
}

// pack puts the parts of the world beside each other, on shelves.
function pack(parts) {
  const places = new Map();
  let area = 0;
  for (const part of parts) {
    const xs = [...part.places.values()].map((p) => p.x);
    const ys = [...part.places.values()].map((p) => p.y);
    part.left = xs.reduce((a, b) => Math.min(a, b));
    part.top = ys.reduce((a, b) => Math.min(a, b));
    part.width = xs.reduce((a, b) => Math.max(a, b)) - part.left + 1;
    part.height = ys.reduce((a, b) => Math.max(a, b)) - part.top + 1;
    area += (part.width + 1) * (part.height + 1);
  }
  const shelf = Math.max(parts[0]?.width ?? 0, Math.ceil(Math.sqrt(area)));
  let x = 0, y = 0, high = 0, width = 0;
  for (const part of parts) {
    if (x > 0 && x + part.width > shelf) {
      x = 0;
      y += high + 1;
      high = 0;
    }
    for (const [name, p] of part.places) places.set(name, { x: p.x - part.left + x, y: p.y - part.top + y });
    x += part.width + 1;
    width = Math.max(width, x - 1);
    high = Math.max(high, part.height);
  }
  return { places, width, height: y + high };
}
