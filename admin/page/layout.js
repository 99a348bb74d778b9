// Where rooms are on the map. A room is on a square of a grid; the room that an exit
// leads to is on the next one in that direction, if that can be.

const steps = {
  north: [0, -1], south: [0, 1], east: [1, 0], west: [-1, 0], up: [1, -1], down: [-1, 1],
};
export const directions = Object.keys(steps);

// A part of the world of so many rooms is pushed apart where something is in the way, and
// then squeezed, which takes the square of that; in a larger one a room looks for another place.
const most = 400;

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
  // Where most ways meet is the middle.
  const degree = (name) => neighbours.get(name).length;
  for (const name of [...neighbours.keys()].sort((a, b) => degree(b) - degree(a) || (a < b ? -1 : 1))) {
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
        if (places.size <= most) lines.push([from, to, direction]);
        continue;
      }
      seen.add(to);
      queue.push(to);
      put(to, from, steps[direction], places, taken, lines);
      lines.push([from, to, direction]);
    }
  }
  if (places.size <= most) {
    squeeze(places, lines, "x");
    squeeze(places, lines, "y");
  }
  return { places };
}

function put(name, from, [dx, dy], places, taken, lines) {
  const origin = places.get(from);
  const square = () => [origin.x + dx, origin.y + dy];
  let [x, y] = square();
  if (places.size > most) {
    if (taken.has(x + "," + y)) [x, y] = nearest(x, y, dx, dy, taken);
  } else {
    for (let tries = 0; tries < 4; tries++) {
      const axis = taken.has(x + "," + y) ? (dy ? "y" : "x") : crossing(x, y, places, lines);
      if (axis === "x" && dx) push(places, taken, origin, "x", dx);
      else if (axis === "y" && dy) push(places, taken, origin, "y", dy);
      else break;
      [x, y] = square();
    }
  }
  places.set(name, { x, y });
  taken.set(x + "," + y, name);
}

// crossing returns along which axis the square must be left by a way that goes straight
// over it, or "".
function crossing(x, y, places, lines) {
  for (const [from, to] of lines) {
    const [a, b] = [places.get(from), places.get(to)];
    if (a.x === x && b.x === x && (a.y - y) * (b.y - y) < 0) return "x";
    if (a.y === y && b.y === y && (a.x - x) * (b.x - x) < 0) return "y";
  }
  return "";
}

// push moves all that is beyond a room in a direction one further, which keeps what is
// north of what.
function push(places, taken, origin, axis, step) {
  const at = origin[axis];
  taken.clear();
  for (const [name, p] of places) {
    if ((p[axis] - at) * step > 0) p[axis] += step;
    taken.set(p.x + "," + p.y, name);
  }
}

// squeeze takes out columns (of "x") or rows (of "y") without which everything is still
// where it should be.
function squeeze(places, lines, axis) {
  const all = [...places.values()];
  const index = axis === "x" ? 0 : 1;
  const right = () => {
    if (new Set(all.map((p) => p.x + "," + p.y)).size < all.length) return false;
    for (const [from, to, direction] of lines) {
      const step = steps[direction][index];
      const [a, b] = [places.get(from), places.get(to)];
      if (step && (before.get(b) - before.get(a)) * step > 0 && (b[axis] - a[axis]) * step <= 0) return false;
    }
    return all.every((p) => !crossing(p.x, p.y, places, lines));
  };
  let before = new Map(all.map((p) => [p, p[axis]]));
  const least = Math.min(...before.values());
  for (let at = Math.max(...before.values()); at > least; at--) {
    before = new Map(all.map((p) => [p, p[axis]]));
    for (const p of all) if (p[axis] >= at) p[axis]--;
    if (!right()) for (const p of all) p[axis] = before.get(p);
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
