const newsFor = 3000; // milliseconds that who came or went is marked

// A World is a copy of the registry's rooms that is kept by its stream of changes.
//
// It sends "change" at most once a frame, and "state" when the stream is there or not.
export class World extends EventTarget {
  rooms = new Map(); // of rooms as /v1/rooms has them, by name
  state = "connecting"; // or "live", or "broken"
  since = Date.now(); // of state
  arrived = new Map(); // when rooms came, by name: those of the last seconds
  gone = new Map(); // rooms of the last seconds that went, by name, and how
  #coming = null; // the rooms of a copy that is being made anew
  #source = null;
  #last = "";
  #frame = 0;

  connect() {
    const query = this.#last ? "?last_event_id=" + encodeURIComponent(this.#last) : "";
    const source = (this.#source = new EventSource("/v1/watch" + query));
    const on = (type, fn) =>
      source.addEventListener(type, (e) => {
        if (e.lastEventId) this.#last = e.lastEventId;
        fn(JSON.parse(e.data));
      });
    on("reset", () => (this.#coming = new Map()));
    on("room", (room) => this.#put(room));
    on("gone", ({ name, event }) => {
      const copy = this.#coming ?? this.rooms;
      if (copy === this.rooms && copy.has(name)) this.#leave({ ...copy.get(name), gone: event || "gone" });
      copy.delete(name);
      this.arrived.delete(name);
      this.#changed();
    });
    on("synced", () => {
      if (this.#coming) {
        this.rooms = this.#coming;
        this.gone.clear();
      }
      this.#coming = null;
      this.#become("live");
      this.#changed();
    });
    source.onerror = () => {
      this.#become("broken");
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.connect(), 3000); // it was refused
    };
  }

  // learn takes in rooms that were asked for at a time: how long their leases run. What
  // the stream has told since is newer.
  learn(rooms, asked) {
    for (const room of rooms) {
      if (this.rooms.get(room.name)?.readAt < asked) this.rooms.set(room.name, read(room));
    }
    this.#changed();
  }

  #put(room) {
    const now = performance.now();
    if (this.#coming) {
      this.#coming.set(room.name, read(room));
      return;
    }
    if (!this.rooms.has(room.name)) this.arrived.set(room.name, now);
    for (const [name, at] of this.arrived) {
      if (now - at < newsFor) break;
      this.arrived.delete(name);
    }
    this.gone.delete(room.name);
    this.rooms.set(room.name, read(room));
    this.#changed();
  }

  #leave(room) {
    this.gone.set(room.name, room);
    setTimeout(() => {
      if (this.gone.get(room.name) !== room) return;
      this.gone.delete(room.name);
      this.#changed();
    }, newsFor);
  }

  // isNew reports whether a room has come just now.
  isNew(name) {
    return performance.now() - (this.arrived.get(name) ?? -Infinity) < newsFor;
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.since = Date.now();
    this.dispatchEvent(new Event("state"));
  }

  #changed() {
    if (this.#coming) return;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.dispatchEvent(new Event("change"));
    });
  }
}

// read notes when a room was read, what it is searched by, and what the map is compared by.
function read(room) {
  room.readAt = performance.now();
  room.key = (room.name + " " + room.address).toLowerCase();
  room.leads = room.exits ? JSON.stringify(room.exits) : "";
  return room;
}

// remaining returns how long the lease of a room still runs, in seconds, or null.
export function remaining(room) {
  if (room.lease_remaining_seconds === undefined) return null;
  return Math.max(0, room.lease_remaining_seconds - (performance.now() - room.readAt) / 1000);
}

// duration returns seconds in words: 12 s, 4 min, 3 h, 5 days.
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 120) return s + " s";
  if (s < 7200) return Math.floor(s / 60) + " min";
  if (s < 172800) return Math.floor(s / 3600) + " h";
  return Math.floor(s / 86400) + " days";
}

export const ago = (time) => (time ? duration((Date.now() - new Date(time)) / 1000) + " ago" : "–");

// element makes an element of a tag and classes ("p.note") with attributes and children.
export function element(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const e = document.createElement(name);
  e.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else if (value !== null) e.setAttribute(key, value);
  }
  e.append(...children);
  return e;
}

// ask asks the registry. Its error says why in the registry's words.
export async function ask(path, options) {
  const response = await fetch(path, options);
  if (response.ok) return response.status === 204 ? null : response.json();
  let code = "", message = response.status + " " + response.statusText;
  try {
    ({ code, message } = (await response.json()).error);
  } catch {} // from somebody in between
  throw Object.assign(new Error(message), { code, status: response.status });
}
