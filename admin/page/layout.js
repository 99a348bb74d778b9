// Where rooms are on the map. A room is on a square of a grid, in the direction of the
// exit that leads to it. Rooms that are joined by the compass are a floor, which is laid
// out for itself; stairs join floors, each of which stays whole.

export const steps = {
  north: [0, -1], south: [0, 1], east: [1, 0], west: [-1, 0], up: [1, -1], down: [-1, 1],
};
const opposites = { north: "south", south: "north", east: "west", west: "east", up: "down", down: "up" };

export const opposite = (direction) => opposites[direction];
export const isStair = (direction) => direction === "up" || direction === "down";

// effort bounds how much is done for the looks of a world, in rooms and ways that are
// visited. When it is used up, a room that finds its square taken goes to the nearest,
// and when searching for that has taken ten times as much, to the end of a pile.
const effort = 1e6;

// layout returns { places, ways, apart, width, height }: places by name, each with x and y
// and whether it is a ghost, which is not registered; the ways between them; and the names
// of rooms that no way leads to or from.
export function layout(rooms) {
  const ways = waysOf(rooms);
  const around = new Map(); // by name: [direction, name, firm] of each way from it or to it
  const note = (from, direction, to, firm) => {
    if (!around.has(from)) around.set(from, []);
    around.get(from).push([direction, to, firm]);
  };
  for (const w of ways) {
    note(w.from, w.direction, w.to, w.firm);
    note(w.to, opposite(w.direction), w.from, w.firm);
  }
  // Where most ways meet is the middle.
  const middles = [...around.keys()].sort((a, b) => around.get(b).length - around.get(a).length || (a < b ? -1 : 1));
  const floors = new Map(); // by name of each of its rooms
  const budget = { left: effort };
  for (const name of middles) {
    if (floors.has(name)) continue;
    const floor = new Floor(around, name, budget);
    for (const each of floor.places.keys()) floors.set(each, floor);
  }
  const parts = [...new Set(floors.values())].sort((a, b) => b.places.size - a.places.size);
  const { places, width, height } = pack(join(parts, floors, around, budget));
  for (const [name, p] of places) p.ghost = !rooms.has(name);
  const taken = new Set([...places.values()].map((p) => cell(p.x, p.y)));
  for (const w of ways) w.shape = shapeOf(w, places.get(w.from), places.get(w.to), taken);
  const apart = [...rooms.keys()].filter((name) => !places.has(name)).sort();
  return { places, ways, apart, width, height };
}

// waysOf returns a way for each exit, or for two that lead to and fro: such a way is firm.
export function waysOf(rooms) {
  const ways = [];
  for (const [from, room] of rooms) {
    for (const [direction, to] of Object.entries(room.exits ?? {})) {
      if (to === from) continue;
      const target = rooms.get(to);
      const firm = target?.exits?.[opposite(direction)] === from;
      if (firm && from > to) continue; // the other exit stands for both
      const back = Object.values(target?.exits ?? {}).includes(from);
      ways.push({ from, direction, to, firm, kind: !target ? "nowhere" : back ? "both" : "oneway" });
    }
  }
  return ways;
}

// follows reports whether b is straight in a direction of a.
function follows(a, b, direction) {
  const [dx, dy] = steps[direction];
  return dx ? a.y === b.y && (b.x - a.x) * dx > 0 : a.x === b.x && (b.y - a.y) * dy > 0;
}

// shapeOf says how a way is drawn: as "stairs"; "straight"; "around" the rooms that are
// in between; or as a "bend" to a room that is not where the exit points.
function shapeOf({ direction }, a, b, taken) {
  if (isStair(direction)) return "stairs";
  if (!follows(a, b, direction)) return "bend";
  const [dx, dy] = steps[direction];
  for (let x = a.x + dx, y = a.y + dy; x !== b.x || y !== b.y; x += dx, y += dy) {
    if (taken.has(cell(x, y))) return "around";
  }
  return "straight";
}

const cell = (x, y) => (x + 2 ** 20) * 2 ** 21 + y + 2 ** 20;

// A Floor is the rooms that can be reached from one by the compass.
class Floor {
  places = new Map();
  #around;
  #lines = []; // ways between rooms that have their squares
  #taken = new Set(); // cells of rooms
  #covered = new Map(); // cells that a way goes over; and the axis along which one gets out of it
  #straight = 0; // of the ways
  #budget;
  #pile = null;

  // Firm ways come first, as the others are the ones that may contradict; of those, ones
  // that lead to a free square.
  constructor(around, start, budget) {
    this.#around = around;
    this.#budget = budget;
    this.#settle(start, 0, 0);
    const queues = [[], [], []]; // firm ways, others, and those of them that lead to a square that is taken
    const done = [0, 0, 0];
    const reach = (from) => {
      for (const [direction, to, firm] of around.get(from)) {
        if (!isStair(direction)) queues[firm ? 0 : 1].push([from, direction, to]);
      }
    };
    reach(start);
    for (let n; (n = queues.findIndex((queue, i) => done[i] < queue.length)) >= 0; ) {
      const way = queues[n][done[n]++];
      const [from, direction, to] = way;
      if (this.places.has(to)) continue;
      const [dx, dy] = steps[direction];
      const { x, y } = this.places.get(from);
      if (n === 1 && !this.#isFree(x + dx, y + dy)) {
        queues[2].push(way);
        continue;
      }
      this.#put(to, from, direction);
      reach(to);
    }
    while (this.#straighten());
    this.#squeeze("x");
    this.#squeeze("y");
  }

  #settle(name, x, y) {
    this.places.set(name, { x, y });
    this.#taken.add(cell(x, y));
    for (const [direction, to, firm] of this.#around.get(name)) {
      if (isStair(direction) || !this.places.has(to)) continue;
      const line = { from: name, direction, to, firm };
      this.#lines.push(line);
      this.#cover(line);
    }
  }

  #follows({ from, direction, to }) {
    return follows(this.places.get(from), this.places.get(to), direction);
  }

  #cover(line) {
    if (!this.#follows(line)) return;
    this.#straight++;
    const [a, b] = [this.places.get(line.from), this.places.get(line.to)];
    const [dx, dy] = steps[line.direction];
    for (let x = a.x + dx, y = a.y + dy; x !== b.x || y !== b.y; x += dx, y += dy) this.#covered.set(cell(x, y), dx ? "y" : "x");
  }

  #index() {
    this.#budget.left -= this.places.size + this.#lines.length + 2 * this.#covered.size;
    this.#straight = 0;
    this.#taken.clear();
    for (const p of this.places.values()) this.#taken.add(cell(p.x, p.y));
    this.#covered.clear();
    for (const line of this.#lines) this.#cover(line);
  }

  #isFree(x, y) {
    return !this.#taken.has(cell(x, y)) && !this.#covered.has(cell(x, y));
  }

  #put(name, from, direction) {
    const [dx, dy] = steps[direction];
    const corner = this.#corner(name);
    if (corner) return this.#settle(name, corner.x, corner.y);
    const origin = this.places.get(from);
    for (let tries = 0; tries < 4; tries++) {
      const [x, y] = [origin.x + dx, origin.y + dy];
      if (this.#isFree(x, y)) break;
      if (this.#budget.left < 0 || (this.#covered.get(cell(x, y)) ?? (dx ? "x" : "y")) !== (dx ? "x" : "y")) break;
      this.#push(origin, dx ? "x" : "y", dx || dy);
    }
    let [x, y] = [origin.x + dx, origin.y + dy];
    if (!this.#isFree(x, y)) [x, y] = this.#nearest(x, y, dx, dy);
    this.#settle(name, x, y);
  }

  // corner returns where a room is straight in the direction of all firm neighbours that
  // have their squares, if they leave but one.
  #corner(name) {
    if (this.#budget.left < 0) return null;
    const found = {};
    const known = this.#around.get(name).filter(([direction, to, firm]) => firm && !isStair(direction) && this.places.has(to));
    for (const [direction, to] of known) {
      const p = this.places.get(to);
      if (steps[direction][0]) found.y ??= p.y;
      else found.x ??= p.x;
    }
    if (found.x === undefined || found.y === undefined || !this.#isFree(found.x, found.y)) return null;
    for (const [direction, to] of known) {
      const p = this.places.get(to);
      if (!follows(found, p, direction)) return null;
      const [dx, dy] = steps[direction];
      for (let x = found.x + dx, y = found.y + dy; x !== p.x || y !== p.y; x += dx, y += dy) {
        if (this.#taken.has(cell(x, y))) return null;
      }
    }
    return found;
  }

  // push moves all that is beyond a room in a direction one further, which keeps what is
  // north of what.
  #push(origin, axis, step) {
    const at = origin[axis];
    for (const p of this.places.values()) if ((p[axis] - at) * step > 0) p[axis] += step;
    this.#index();
  }

  #nearest(x, y, dx, dy) {
    for (let n = 0; this.#budget.left > -10 * effort; n++) {
      for (let side = 0; side <= n; side++) {
        for (const s of [side, -side]) {
          const [u, v] = dx ? [x + dx * (n - side), y + s] : [x + s, y + dy * (n - side)];
          if (this.#budget.left-- < 0 ? !this.#taken.has(cell(u, v)) : this.#isFree(u, v)) return [u, v];
        }
      }
    }
    this.#pile ??= { right: range(this.places.values(), "x")[1], top: range(this.places.values(), "y")[0], size: 0 };
    for (const pile = this.#pile; ; ) {
      const [x, y] = [pile.right + 2 + (pile.size % 200), pile.top + Math.floor(pile.size / 200)];
      pile.size++;
      if (!this.#taken.has(cell(x, y))) return [x, y];
    }
  }

  // try moves rooms along an axis, and back if that is for the worse: if a room is on
  // another, more are on a way, or too few ways are straight.
  #try(moved, axis, by, better) {
    const [straight, hidden] = [this.#straight + better, this.#hidden()];
    for (const p of moved) p[axis] += by;
    this.#index();
    if (this.#straight >= straight && this.#taken.size === this.places.size && this.#hidden() <= hidden) return true;
    for (const p of moved) p[axis] -= by;
    this.#index();
    return false;
  }

  // hidden counts the rooms that are on a way.
  #hidden() {
    let n = 0;
    for (const c of this.#covered.keys()) if (this.#taken.has(c)) n++;
    return n;
  }

  // straighten moves rooms beside each other for the firm ways that are not straight yet,
  // and reports whether that was of use.
  #straighten() {
    let useful = false;
    for (const line of this.#lines) {
      if (!line.firm || this.#follows(line)) continue;
      const axis = steps[line.direction][0] ? "y" : "x";
      for (const [name, other] of [[line.from, line.to], [line.to, line.from]]) {
        if (this.#budget.left < 0) return false;
        const by = this.places.get(other)[axis] - this.places.get(name)[axis];
        const moved = by && this.#tied(name, other, axis, by);
        if (moved && this.#try(moved, axis, by, 1)) useful = true;
      }
    }
    return useful;
  }

  // tied returns the places that must move along if a room does, so that all ways that
  // are straight stay so; or null if another room is one of them.
  #tied(name, other, axis, by) {
    const tied = new Set([name]);
    for (const each of tied) {
      if (each === other) return null;
      const p = this.places.get(each);
      for (const [direction, to] of this.#around.get(each)) {
        const q = this.places.get(to);
        if (isStair(direction) || tied.has(to) || !follows(p, q, direction)) continue;
        const moved = { ...p, [axis]: p[axis] + by };
        if (!follows(moved, q, direction)) tied.add(to);
      }
    }
    this.#budget.left -= tied.size;
    return [...tied].map((each) => this.places.get(each));
  }

  // squeeze takes out columns (along x) or rows (along y) without which everything is
  // still where it should be.
  #squeeze(axis) {
    const all = [...this.places.values()];
    const needed = new Set(); // where a way goes just one step
    for (const line of this.#lines) {
      const [a, b] = [this.places.get(line.from)[axis], this.places.get(line.to)[axis]];
      if (Math.abs(a - b) === 1 && this.#follows(line)) needed.add(Math.max(a, b));
    }
    const [least, last] = range(all, axis);
    for (let at = last; at > least && this.#budget.left > 0; at--) {
      if (!needed.has(at)) this.#try(all.filter((p) => p[axis] >= at), axis, -1, 0);
    }
  }

  // fits reports whether another floor, moved, is beside this one and its ways.
  fits(floor, x, y) {
    const free = (c) => !this.#taken.has(c) && !this.#covered.has(c);
    const shift = cell(x, y) - cell(0, 0);
    for (const c of floor.#taken) if (!free(c + shift)) return false;
    for (const c of floor.#covered.keys()) if (!free(c + shift)) return false;
    return true;
  }

  // add takes in another floor, moved.
  add(floor, x, y) {
    const shift = cell(x, y) - cell(0, 0);
    for (const [name, p] of floor.places) this.places.set(name, { x: p.x + x, y: p.y + y });
    for (const c of floor.#taken) this.#taken.add(c + shift);
    for (const [c, axis] of floor.#covered) this.#covered.set(c + shift, axis);
  }
}

// join puts floors beside each other that stairs lead between, as near as there is room;
// if there is none, a floor stays apart.
function join(parts, floors, around, budget) {
  const houses = [];
  const joined = new Set();
  for (const floor of parts) {
    if (joined.has(floor)) continue;
    joined.add(floor);
    houses.push(floor);
    const names = [...floor.places.keys()];
    for (let i = 0; i < names.length; i++) {
      const origin = floor.places.get(names[i]);
      for (const [direction, to] of around.get(names[i])) {
        const next = floors.get(to);
        if (!isStair(direction) || joined.has(next)) continue;
        const foot = next.places.get(to);
        const spot = beside(floor, next, origin.x - foot.x, origin.y - foot.y, steps[direction], budget);
        if (!spot) continue;
        joined.add(next);
        for (const name of next.places.keys()) names.push(name);
        floor.add(next, ...spot);
      }
    }
  }
  return houses;
}

function beside(floor, next, x, y, [dx, dy], budget) {
  for (let n = 2; n < 40 && (n < 6 || budget.left > 0); n++) {
    for (let k = 1; k < n; k++) {
      const [u, v] = [x + dx * k, y + dy * (n - k)];
      budget.left--;
      if (floor.fits(next, u, v)) return [u, v];
    }
  }
  return null;
}

function range(places, axis) {
  let [least, last] = [Infinity, -Infinity];
  for (const p of places) {
    least = Math.min(least, p[axis]);
    last = Math.max(last, p[axis]);
  }
  return [least, last];
}

// pack puts the parts of the world beside each other, on shelves: about as wide as high,
// where a square is twice as wide as high.
function pack(parts) {
  const places = new Map();
  let area = 0;
  for (const part of parts) {
    const [left, right] = range(part.places.values(), "x");
    const [top, bottom] = range(part.places.values(), "y");
    Object.assign(part, { left, top, width: right - left + 1, height: bottom - top + 1 });
    area += (part.width + 1) * (part.height + 1);
  }
  parts.sort((a, b) => b.height - a.height || b.width - a.width);
  const shelf = Math.max(...parts.slice(0, 1000).map((p) => p.width), Math.ceil(Math.sqrt(area / 2)));
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
