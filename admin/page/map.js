import { layout } from "./layout.js";
import { element } from "./world.js";

const cell = { width: 152, height: 82 };
const box = { width: 122, height: 48 };
const redoEvery = 500; // milliseconds: a large world takes some to lay out

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
    }, redoEvery);
  }

  // rebuild lays the world out anew, if its exits are not those of before.
  rebuild() {
    const exits = [];
    for (const r of this.#world.rooms.values()) exits.push(r.name, r.exits ? JSON.stringify(r.exits) : "");
    const known = exits.join("\n");
    if (known === this.#known) return;
    this.#known = known;
    this.plan = layout(this.#world.rooms);
    const empty = this.plan.places.size === 0;
    this.#section.querySelector(".empty").hidden = !empty || this.#world.rooms.size === 0;
    this.#section.querySelector(".tools").hidden = empty;
    this.#section.querySelector(".legend").hidden = empty;
    this.#canvas.setAttribute("aria-label", `Map of ${this.plan.places.size} rooms`);
    this.#listApart();
    if (this.#moved) this.draw();
    else this.home();
  }

  #listApart() {
    const list = this.#section.querySelector("#apart");
    const names = this.plan.apart;
    const shown = names.slice(0, 50);
    list.hidden = names.length === 0 || this.plan.places.size === 0;
    list.querySelector("ul").replaceChildren(
      ...shown.map((name) => element("li", {}, element("button", { type: "button", onclick: () => this.#open(name) }, name))),
      ...(names.length > shown.length ? [element("li", {}, `and ${names.length - shown.length} more`)] : []),
    );
  }

  // home shows the world, and not smaller than can be read on a small screen.
  home() {
    this.fit();
    const { clientWidth: w, clientHeight: h } = this.#canvas;
    const v = this.#view;
    if (innerWidth > 640 || v.scale >= 0.55 || this.plan.places.size > 500) return;
    const [name] = this.plan.places.keys();
    const p = this.plan.places.get(name);
    v.scale = 0.7;
    v.x = w / 2 - (p.x + 0.5) * cell.width * v.scale;
    v.y = h / 2 - (p.y + 0.5) * cell.height * v.scale;
  }

  // fit shows all of the world.
  fit() {
    const { clientWidth: w, clientHeight: h } = this.#canvas;
    if (!w || !h) return;
    const width = Math.max(1, this.plan.width) * cell.width;
    const height = Math.max(1, this.plan.height) * cell.height;
    const apart = this.#section.querySelector("#apart");
    const left = apart.hidden || w < 700 ? 8 : apart.offsetWidth + 16; // what is beside it, and below
    const [right, bottom] = [w < 700 ? 8 : 56, 48];
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
    const isSeen = ([x, y]) => x > seen.left && x < seen.right && y > seen.top && y < seen.bottom;
    const fine = v.scale > 0.3;
    for (const way of this.plan.ways) {
      const from = middle(this.plan.places.get(way.from));
      const to = middle(this.plan.places.get(way.to));
      if (isSeen(from) || isSeen(to)) paintWay(c, way, from, to, colors, fine, this.selected === way.from || this.selected === way.to);
    }
    c.font = "500 15px/1 " + color("--font");
    c.textBaseline = "middle";
    c.textAlign = "center";
    for (const [name, p] of this.plan.places) {
      const at = middle(p);
      if (isSeen(at)) paintBox(c, name, p, at, colors, v.scale, name === this.selected);
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

function paintWay(c, way, [x1, y1], [x2, y2], colors, fine, selected) {
  const [a, b] = [border(x1, y1, x2, y2), border(x2, y2, x1, y1)];
  c.strokeStyle = selected ? colors.accent : way.kind === "nowhere" ? colors.warn : colors.line;
  c.fillStyle = c.strokeStyle;
  c.lineWidth = selected ? 2.6 : 2;
  c.setLineDash(way.kind === "both" ? [] : way.kind === "oneway" ? [7, 5] : [2, 5]);
  c.beginPath();
  c.moveTo(...a);
  c.lineTo(...b);
  c.stroke();
  c.setLineDash([]);
  if (!fine) return;
  const angle = Math.atan2(b[1] - a[1], b[0] - a[0]);
  if (way.kind !== "both") {
    c.save();
    c.translate(...b);
    c.rotate(angle);
    c.beginPath();
    c.moveTo(0, 0);
    c.lineTo(-10, -5);
    c.lineTo(-10, 5);
    c.fill();
    c.restore();
  }
  if (way.direction === "up" || way.direction === "down") {
    const [x, y] = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    c.beginPath();
    c.fillStyle = colors.box;
    c.arc(x, y, 9, 0, 7);
    c.fill();
    c.stroke();
    const up = way.direction === "up" ? -1 : 1; // of the room that the way begins at
    c.fillStyle = colors.text;
    c.beginPath();
    c.moveTo(x, y + 5 * up);
    c.lineTo(x - 4.5, y - 3 * up);
    c.lineTo(x + 4.5, y - 3 * up);
    c.fill();
  }
}

// border returns where the line between the middles of two boxes leaves the first.
function border(x1, y1, x2, y2) {
  const dx = x2 - x1;
  const dy = y2 - y1;
  const t = Math.min(dx ? box.width / 2 / Math.abs(dx) : Infinity, dy ? box.height / 2 / Math.abs(dy) : Infinity, 0.5);
  return [x1 + dx * t, y1 + dy * t];
}

const broken = new Map(); // names as lines that fit into a box; emptied when there are many

function paintBox(c, name, place, [x, y], colors, scale, selected) {
  c.beginPath();
  c.roundRect(x - box.width / 2, y - box.height / 2, box.width, box.height, 9);
  c.fillStyle = scale < 0.15 ? colors.line : colors.box; // from afar a box is a dot
  c.fill();
  c.lineWidth = selected ? 3 : 1.5;
  c.strokeStyle = selected ? colors.accent : place.ghost ? colors.warn : colors.edge;
  c.setLineDash(place.ghost ? [4, 4] : []);
  c.stroke();
  c.setLineDash([]);
  if (scale < 0.3) return;
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
