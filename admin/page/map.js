import { layout, opposite, steps } from "./layout.js";
import { element } from "./world.js";

const cell = { width: 152, height: 82 };
const box = { width: 122, height: 48 };
const fineFrom = 0.3; // the scale from which names and marks can be made out
const redoEvery = 500; // milliseconds, or twenty times as long as it takes: a large world takes some

// A WorldMap draws rooms as boxes joined by their exits.
export class WorldMap extends EventTarget {
  selected = "";
  plan = layout(new Map());
  #world;
  #section;
  #canvas;
  #view = { x: 0, y: 0, scale: 1 };
  #moved = false; // by whoever looks at it: then it is not fitted any more
  #pointers = new Map();
  #pinch = 0;
  #dragged = 0;
  #due = 0;
  #pause = redoEvery;
  #frame = 0;
  #known = "";

  constructor(world, section) {
    super();
    this.#world = world;
    this.#section = section;
    const canvas = (this.#canvas = section.querySelector("canvas"));
    world.addEventListener("change", () => this.#later());
    new ResizeObserver(() => {
      if (!this.#moved) this.home();
      this.reveal(this.selected);
      this.draw();
    }).observe(canvas);
    canvas.addEventListener("pointerdown", (e) => this.#down(e));
    canvas.addEventListener("pointermove", (e) => this.#move(e));
    canvas.addEventListener("pointerup", (e) => this.#up(e));
    canvas.addEventListener("pointercancel", (e) => this.#pointers.delete(e.pointerId));
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      this.zoom(Math.exp(-e.deltaY / (e.ctrlKey ? 100 : 500)), e.offsetX, e.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => this.#key(e));
    section.querySelector("#zoom-in").addEventListener("click", () => this.zoom(1.4));
    section.querySelector("#zoom-out").addEventListener("click", () => this.zoom(1 / 1.4));
    section.querySelector("#fit").addEventListener("click", () => this.fit());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  #later() {
    this.#due ||= setTimeout(() => {
      this.#due = 0;
      this.rebuild();
    }, this.#pause);
  }

  // rebuild lays the world out anew, if its exits are not those of before.
  rebuild() {
    const begin = performance.now();
    const isNew = this.#joined() !== this.#known;
    if (isNew) {
      this.plan = layout(this.#world.rooms);
      this.#known = this.#joined();
    } else {
      this.plan.apart = [...this.#world.rooms.keys()].filter((name) => !this.plan.places.has(name)).sort();
    }
    const empty = this.plan.places.size === 0;
    this.#section.querySelector(".empty").hidden = !empty || this.#world.rooms.size === 0;
    this.#section.querySelector(".tools").hidden = empty;
    this.#section.querySelector(".legend").hidden = empty;
    this.#canvas.setAttribute("aria-label", `Map of ${this.plan.places.size} rooms`);
    this.#listApart();
    if (isNew && this.#moved) this.draw();
    else if (isNew) this.home();
    this.#pause = Math.max(redoEvery, 20 * (performance.now() - begin));
  }

  // joined returns what the plan depends on: the rooms that are on it or have exits.
  #joined() {
    let all = "";
    for (const r of this.#world.rooms.values()) {
      if (r.leads || this.plan.places.has(r.name)) all += r.name + r.leads + "\n";
    }
    return all;
  }

  #listApart() {
    const list = this.#section.querySelector("#apart");
    const names = this.plan.apart;
    const shown = names.slice(0, 50);
    list.hidden = names.length === 0 || this.plan.places.size === 0;
    const known = shown.join("\n") + names.length;
    if (list.dataset.known === known) return; // who is about to press a button keeps it
    list.dataset.known = known;
    list.querySelector("ul").replaceChildren(
      ...shown.map((name) => element("li", {}, element("button", { type: "button", onclick: () => this.#open(name) }, name))),
      ...(names.length > shown.length ? [element("li", {}, `and ${names.length - shown.length} more`)] : []),
    );
  }

  // home shows the world; but what is selected, and all on a small screen, not smaller than
  // can be read.
  home() {
    this.fit();
    const { clientWidth: w, clientHeight: h } = this.#canvas;
    const v = this.#view;
    const selected = this.plan.places.get(this.selected);
    const small = innerWidth <= 640 && this.plan.places.size <= 500;
    if (v.scale >= 0.55 || !(selected || small)) return;
    const p = selected ?? this.plan.places.values().next().value;
    v.scale = 0.7;
    v.x = within(w / 2 - (p.x + 0.5) * cell.width * v.scale, w, this.plan.width * cell.width * v.scale);
    v.y = within(h / 2 - (p.y + 0.5) * cell.height * v.scale, h, this.plan.height * cell.height * v.scale);
  }

  // fit shows all of the world.
  fit() {
    const { clientWidth: w, clientHeight: h } = this.#canvas;
    if (!w || !h) return;
    const width = Math.max(1, this.plan.width) * cell.width;
    const height = Math.max(1, this.plan.height) * cell.height;
    const apart = this.#section.querySelector("#apart");
    const left = apart.hidden || w < 700 ? 8 : apart.offsetWidth + 16; // what is beside it, and below
    const [right, bottom] = [w < 450 ? 8 : 56, this.#section.querySelector(".legend").offsetHeight + 20];
    const scale = Math.min(1.15, (w - left - right) / width, (h - bottom - 8) / height);
    this.#view = { scale, x: left + (w - left - right - width * scale) / 2, y: 8 + (h - bottom - 8 - height * scale) / 2 };
    this.#moved = false;
    this.draw();
  }

  zoom(by, x = this.#canvas.clientWidth / 2, y = this.#canvas.clientHeight / 2) {
    const v = this.#view;
    const scale = Math.min(2.5, Math.max(0.02, v.scale * by));
    v.x = x - ((x - v.x) * scale) / v.scale;
    v.y = y - ((y - v.y) * scale) / v.scale;
    v.scale = scale;
    this.#moved = true;
    this.draw();
  }

  select(name) {
    this.selected = name;
    this.draw();
  }

  // reveal moves the map so that a room is seen.
  reveal(name) {
    const p = this.plan.places.get(name);
    if (!p) return;
    const v = this.#view;
    const x = v.x + (p.x + 0.5) * cell.width * v.scale;
    const y = v.y + (p.y + 0.5) * cell.height * v.scale;
    const { clientWidth: w, clientHeight: h } = this.#canvas;
    if (!w || !h) return; // it is not shown
    if (x < 80 || x > w - 80) v.x += w / 2 - x;
    if (y < 50 || y > h - 50) v.y += h / 2 - y;
    this.draw();
  }

  // at returns the middle of a room's box on the canvas, in CSS pixels.
  at(name) {
    const p = this.plan.places.get(name);
    const v = this.#view;
    return p && { x: v.x + (p.x + 0.5) * cell.width * v.scale, y: v.y + (p.y + 0.5) * cell.height * v.scale };
  }

  draw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  #paint() {
    const canvas = this.#canvas;
    const { clientWidth: w, clientHeight: h } = canvas;
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(h * ratio);
    }
    const c = canvas.getContext("2d");
    const v = this.#view;
    const style = getComputedStyle(this.#section);
    const color = (name) => style.getPropertyValue(name).trim();
    const colors = Object.fromEntries(["line", "text", "faint", "box", "edge", "accent", "warn"].map((n) => [n, color("--map-" + n)]));
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, w, h);
    c.translate(v.x, v.y);
    c.scale(v.scale, v.scale);
    // What is seen, in the map's own measure.
    const seen = { left: -v.x / v.scale - cell.width, top: -v.y / v.scale - cell.height, right: (w - v.x) / v.scale + cell.width, bottom: (h - v.y) / v.scale + cell.height };
    const middle = (p) => [(p.x + 0.5) * cell.width, (p.y + 0.5) * cell.height];
    const isSeen = ([x1, y1], [x2, y2]) =>
      Math.max(x1, x2) > seen.left && Math.min(x1, x2) < seen.right && Math.max(y1, y2) > seen.top && Math.min(y1, y2) < seen.bottom;
    const fine = v.scale >= fineFrom;
    for (const way of this.plan.ways) {
      const from = middle(this.plan.places.get(way.from));
      const to = middle(this.plan.places.get(way.to));
      if (isSeen(from, to)) paintWay(c, way, from, to, colors, v.scale, this.selected === way.from || this.selected === way.to);
    }
    c.font = "500 15px/1 " + color("--font");
    c.textBaseline = "middle";
    c.textAlign = "center";
    for (const [name, p] of this.plan.places) {
      const at = middle(p);
      if (isSeen(at, at)) paintBox(c, name, p, at, colors, v.scale, name === this.selected);
    }
    if (!fine) return;
    for (const way of this.plan.ways) {
      if (way.shape !== "stairs") continue;
      paintStair(c, middle(this.plan.places.get(way.from)), way.direction, colors);
      if (way.firm) paintStair(c, middle(this.plan.places.get(way.to)), opposite(way.direction), colors);
    }
  }

  #find(x, y) {
    const v = this.#view;
    const u = (x - v.x) / v.scale / cell.width;
    const t = (y - v.y) / v.scale / cell.height;
    for (const [name, p] of this.plan.places) {
      if (Math.abs(u - p.x - 0.5) * cell.width <= box.width / 2 && Math.abs(t - p.y - 0.5) * cell.height <= box.height / 2) return name;
    }
    return "";
  }

  #open(name) {
    this.select(name);
    this.dispatchEvent(new CustomEvent("open", { detail: name }));
  }

  #down(e) {
    this.#canvas.setPointerCapture(e.pointerId);
    this.#pointers.set(e.pointerId, { x: e.offsetX, y: e.offsetY });
    this.#dragged = this.#pointers.size > 1 ? Infinity : 0;
    this.#pinch = 0;
  }

  #move(e) {
    const before = this.#pointers.get(e.pointerId);
    if (!before) {
      this.#canvas.style.cursor = this.#find(e.offsetX, e.offsetY) ? "pointer" : "grab";
      return;
    }
    const now = { x: e.offsetX, y: e.offsetY };
    this.#pointers.set(e.pointerId, now);
    if (this.#pointers.size > 1) {
      const [a, b] = [...this.#pointers.values()];
      const distance = Math.hypot(a.x - b.x, a.y - b.y);
      if (this.#pinch) this.zoom(distance / this.#pinch, (a.x + b.x) / 2, (a.y + b.y) / 2);
      this.#pinch = distance;
      return;
    }
    this.#dragged += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
    if (this.#dragged < 5) return;
    this.#view.x += now.x - before.x;
    this.#view.y += now.y - before.y;
    this.#moved = true;
    this.draw();
  }

  #up(e) {
    this.#pointers.delete(e.pointerId);
    if (this.#dragged >= 5) return;
    const name = this.#find(e.offsetX, e.offsetY);
    if (name) this.#open(name);
    else this.select("");
  }

  #key(e) {
    const ways = { ArrowUp: "north", ArrowDown: "south", ArrowRight: "east", ArrowLeft: "west", PageUp: "up", PageDown: "down" };
    if (e.key in ways) this.#walk(ways[e.key]);
    else if (e.key === "Enter" && this.selected) this.#open(this.selected);
    else if (e.key === "+" || e.key === "=") this.zoom(1.4);
    else if (e.key === "-") this.zoom(1 / 1.4);
    else if (e.key === "0") this.fit();
    else return;
    e.preventDefault();
  }

  // walk selects the room in a direction, and says which that is.
  #walk(direction) {
    const says = this.#section.querySelector("#map-says");
    if (!this.plan.places.has(this.selected)) {
      const first = this.plan.places.keys().next().value;
      if (first === undefined) return;
      this.select(first);
      says.textContent = first;
      return this.reveal(first);
    }
    const to = this.#world.rooms.get(this.selected)?.exits?.[direction];
    if (!to) {
      says.textContent = `No exit ${direction} from ${this.selected}`;
      return;
    }
    says.textContent = `${to}, ${direction} of ${this.selected}${this.#world.rooms.has(to) ? "" : ", not registered"}`;
    this.select(to);
    this.reveal(to);
  }
}

// within returns where something of a length begins so that a window of it has no more
// blank than it must.
function within(at, window, length) {
  const blank = window - length;
  return blank > 0 ? blank / 2 : Math.min(8, Math.max(blank - 8, at));
}

function paintWay(c, way, from, to, colors, scale, selected) {
  c.strokeStyle = selected ? colors.accent : way.kind === "nowhere" ? colors.warn : colors.line;
  c.lineWidth = Math.max(selected ? 2.6 : 2, 1 / scale); // a pixel at least
  c.setLineDash(way.kind === "both" ? [] : way.kind === "oneway" ? [7, 5] : [2, 5]);
  // A way leaves its box on the side of the exit, wherever the room there is.
  const [dx, dy] = steps[way.direction];
  const [a, b] = [[from[0] + (box.width / 2) * dx, from[1] + (box.height / 2) * dy], [to[0] - (box.width / 2) * dx, to[1] - (box.height / 2) * dy]];
  let [p, q] = [a, b];
  if (way.shape === "around") {
    const side = [(dy * box.width) / 1.3, (dx * box.height) / 1.2]; // past the boxes on its left
    [p, q] = [[a[0] + side[0] + dx * 40, a[1] - side[1] + dy * 24], [b[0] + side[0] - dx * 40, b[1] - side[1] - dy * 24]];
  } else if (way.shape !== "straight") {
    const length = Math.hypot(b[0] - a[0], b[1] - a[1]);
    const swing = way.shape === "stairs" ? length / 4 : Math.min(160, Math.max(36, length / 2));
    [p, q] = [[a[0] + dx * swing, a[1] + dy * swing], [b[0] - dx * swing, b[1] - dy * swing]];
  }
  c.beginPath();
  c.moveTo(...a);
  c.bezierCurveTo(...p, ...q, ...b);
  c.stroke();
  c.setLineDash([]);
  if (scale < fineFrom) return;
  if (way.kind !== "both") paintTip(c, b, Math.atan2(...(q === b ? [dy, dx] : [b[1] - q[1], b[0] - q[0]])));
}

function paintTip(c, at, angle) {
  c.save();
  c.fillStyle = c.strokeStyle;
  c.translate(...at);
  c.rotate(angle);
  c.beginPath();
  c.moveTo(0, 0);
  c.lineTo(-10, -5);
  c.lineTo(-10, 5);
  c.fill();
  c.restore();
}

// paintStair marks a corner of a box from which stairs lead up or down.
function paintStair(c, [x, y], direction, colors) {
  const [dx, dy] = steps[direction];
  const [u, v] = [x + (box.width / 2) * dx, y + (box.height / 2) * dy];
  c.beginPath();
  c.fillStyle = colors.box;
  c.strokeStyle = colors.line;
  c.lineWidth = 1.5;
  c.arc(u, v, 9, 0, 7);
  c.fill();
  c.stroke();
  c.fillStyle = colors.text;
  c.beginPath();
  c.moveTo(u, v + 5 * dy);
  c.lineTo(u - 4.5, v - 3 * dy);
  c.lineTo(u + 4.5, v - 3 * dy);
  c.fill();
}

const broken = new Map(); // names as lines that fit into a box; emptied when there are many

function paintBox(c, name, place, [x, y], colors, scale, selected) {
  c.beginPath();
  c.roundRect(x - box.width / 2, y - box.height / 2, box.width, box.height, 9);
  const far = scale < fineFrom && !place.ghost; // from afar a box is a dot
  c.fillStyle = !far ? colors.box : selected ? colors.accent : colors.line;
  c.fill();
  c.lineWidth = Math.max(selected ? 3 : 1.5, 1 / scale);
  c.strokeStyle = selected ? colors.accent : place.ghost ? colors.warn : far ? colors.line : colors.edge;
  c.setLineDash(place.ghost ? [4, 4] : []);
  c.stroke();
  c.setLineDash([]);
  if (scale < fineFrom) return;
  c.fillStyle = place.ghost ? colors.faint : colors.text;
  const lines = linesOf(c, name);
  lines.forEach((line, i) => c.fillText(line, x, y + 1 + (i - (lines.length - 1) / 2) * 18));
}

// linesOf breaks a name into two lines at most, and cuts it off if it is longer.
function linesOf(c, name) {
  let lines = broken.get(name);
  if (lines) return lines;
  const width = box.width - 12;
  const fits = (text) => c.measureText(text).width <= width;
  const cut = (text) => {
    const letters = [...new Intl.Segmenter().segment(text)].map((s) => s.segment);
    for (let n = letters.length; n > 1; n--) {
      const short = letters.slice(0, n).join("").trimEnd() + (n < letters.length ? "…" : "");
      if (fits(short)) return short;
    }
    return letters[0];
  };
  if (fits(name)) {
    lines = [name];
  } else {
    const words = name.split(" ");
    let first = words.shift();
    while (words.length && fits(first + " " + words[0])) first += " " + words.shift();
    lines = words.length ? [cut(first), cut(words.join(" "))] : [cut(first)];
  }
  if (broken.size > 20000) broken.clear();
  broken.set(name, lines);
  return lines;
}
