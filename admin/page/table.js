import { ago, duration, element, remaining } from "./world.js";

const columns = [
  { key: "name", title: "Name", value: (r) => r.name },
  { key: "address", title: "Address", value: (r) => r.address },
  { key: "since", title: "Registered", value: (r) => r.registered_at },
  { key: "lease", title: "Lease", value: (r) => remaining(r) ?? Infinity },
  { key: "heard", title: "Heard", value: (r) => r.last_heard_at ?? "" },
];

const rebuildEvery = 250; // milliseconds, or ten times as long as it takes: sorting a hundred thousand rooms takes some
const margin = 6; // rows beyond those that are seen

// A Table shows rooms in rows, of which only those that are seen are in the page.
export class Table extends EventTarget {
  rows = []; // rooms, found and sorted, and those that have just gone
  found = 0; // how many of them are there
  selected = ""; // name
  #world;
  #grid;
  #body;
  #lines = []; // elements that are in use again and again
  #filter = "";
  #sort = columns[0];
  #descending = false;
  #due = 0;
  #pause = rebuildEvery;

  constructor(world, grid) {
    super();
    this.#world = world;
    this.#grid = grid;
    this.#body = grid.querySelector(".body");
    const head = grid.querySelector(".head");
    for (const c of columns) {
      const button = element("button", { type: "button", onclick: () => this.#sortBy(c) }, c.title);
      head.append((c.head = element("div." + c.key, { role: "columnheader" }, button)));
    }
    this.#markSort();
    world.addEventListener("change", () => this.#later());
    grid.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(grid);
    grid.addEventListener("keydown", (e) => this.#key(e));
    this.#body.addEventListener("click", (e) => {
      const line = e.target.closest(".row");
      if (line) this.#open(line.dataset.name);
    });
  }

  filter(text) {
    this.#filter = text.trim().toLowerCase();
    this.#grid.scrollTop = 0;
    this.rebuild();
  }

  // seen returns the rooms whose rows are seen.
  seen() {
    return this.#lines.filter((l) => !l.row.hidden && l.room).map((l) => l.room.name);
  }

  #later() {
    this.#due ||= setTimeout(() => {
      this.#due = 0;
      this.rebuild();
    }, this.#pause);
  }

  rebuild() {
    const begin = performance.now();
    const rooms = [...this.#world.rooms.values(), ...this.#world.gone.values()];
    const found = this.#filter ? rooms.filter((r) => r.key.includes(this.#filter)) : rooms;
    const value = this.#sort.value;
    const sign = this.#descending ? -1 : 1;
    const keyed = found.map((r) => [value(r), r]);
    keyed.sort(([a, r], [b, q]) => (a < b ? -sign : a > b ? sign : r.name < q.name ? -1 : 1));
    this.rows = keyed.map(([, r]) => r);
    this.found = this.rows.reduce((n, r) => n + !r.gone, 0);
    this.#grid.setAttribute("aria-rowcount", this.rows.length + 1);
    this.draw();
    this.dispatchEvent(new Event("found"));
    this.#pause = Math.max(rebuildEvery, 10 * (performance.now() - begin));
  }

  // draw puts the rows that are seen into the page.
  draw() {
    const height = this.#rowHeight();
    this.#body.style.height = this.rows.length * height + "px";
    const first = Math.max(0, Math.floor(this.#grid.scrollTop / height) - margin);
    const count = Math.max(0, Math.min(this.rows.length - first, Math.ceil(this.#grid.clientHeight / height) + 2 * margin));
    while (this.#lines.length < count) this.#lines.push(this.#newLine());
    this.#lines.forEach((line, i) => {
      const hide = i >= count;
      if (line.row.hidden !== hide) line.row.hidden = hide;
      if (hide) return;
      const index = first + i;
      const room = this.#world.rooms.get(this.rows[index].name) ?? this.rows[index];
      line.row.style.transform = `translateY(${index * height}px)`;
      fill(line, room, index);
      line.row.classList.toggle("arrived", this.#world.isNew(room.name));
      line.row.classList.toggle("gone", !this.#world.rooms.has(room.name));
      line.row.setAttribute("aria-selected", room.name === this.selected);
    });
    const active = this.rows.findIndex((r) => r.name === this.selected);
    const line = this.#lines[active - first];
    if (active >= 0 && line && !line.row.hidden) this.#grid.setAttribute("aria-activedescendant", line.row.id);
    else this.#grid.removeAttribute("aria-activedescendant");
  }

  #rowHeight() {
    return parseFloat(getComputedStyle(this.#grid).getPropertyValue("--row"));
  }

  // tick draws what changes by itself: how long leases run.
  tick() {
    for (const line of this.#lines) {
      if (line.row.hidden || !line.room) continue;
      showTimes(line, this.#world.rooms.get(line.room.name) ?? line.room);
      line.row.classList.toggle("arrived", this.#world.isNew(line.room.name));
    }
  }

  select(name) {
    this.selected = name;
    this.draw();
  }

  #newLine() {
    const cells = columns.map((c) => element("div." + c.key, { role: "gridcell" }));
    const row = element("div.row", { role: "row", id: "row" + this.#lines.length }, ...cells);
    const [name, address, since, lease, heard] = cells;
    const bar = element("span.fill");
    const left = element("span.left");
    lease.append(element("span.track", { "aria-hidden": "true" }, bar), left);
    this.#body.append(row);
    return { row, name, address, since, heard, bar, left, room: null };
  }

  #open(name) {
    this.select(name);
    this.dispatchEvent(new CustomEvent("open", { detail: name }));
  }

  #key(e) {
    const page = Math.floor(this.#grid.clientHeight / this.#rowHeight()) - 2;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (e.target.closest(".head")) return;
    if (e.key in steps && this.rows.length) {
      const at = this.rows.findIndex((r) => r.name === this.selected);
      const next = Math.min(this.rows.length - 1, Math.max(0, at + steps[e.key])); // from -1, before the first, if there is none
      this.selected = this.rows[next].name;
      this.#show(next);
    } else if (e.key === "Enter" && this.selected) {
      this.#open(this.selected);
    } else {
      return;
    }
    e.preventDefault();
  }

  #show(index) {
    const grid = this.#grid;
    const height = this.#rowHeight();
    const seen = grid.clientHeight - this.#body.offsetTop; // below the head
    const top = index * height;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + height > grid.scrollTop + seen) grid.scrollTop = top + height - seen;
    this.draw();
  }

  #sortBy(column) {
    this.#descending = column === this.#sort && !this.#descending;
    this.#sort = column;
    this.#markSort();
    this.rebuild();
  }

  #markSort() {
    for (const c of columns) {
      c.head.setAttribute("aria-sort", c !== this.#sort ? "none" : this.#descending ? "descending" : "ascending");
    }
  }
}

function fill(line, room, index) {
  line.row.setAttribute("aria-rowindex", index + 2);
  if (line.room !== room) {
    line.room = room;
    line.row.dataset.name = room.name;
    line.name.textContent = room.name;
    line.name.title = room.name;
    line.address.textContent = room.address;
    line.address.title = room.address;
    line.since.title = new Date(room.registered_at).toLocaleString();
  }
  showTimes(line, room);
}

function showTimes(line, room) {
  const left = remaining(room);
  set(line.since, ago(room.registered_at));
  set(line.heard, ago(room.last_heard_at));
  set(line.left, room.gone ?? (left === null ? "for good" : duration(left)));
  const share = left === null ? 1 : Math.min(1, left / room.ttl_seconds);
  line.bar.style.transform = `scaleX(${share.toFixed(3)})`;
  line.bar.parentElement.hidden = left === null || room.gone !== undefined;
  line.row.classList.toggle("late", left !== null && share < 1 / 3 && !room.gone);
}

function set(e, text) {
  if (e.textContent !== text) e.textContent = text;
}
