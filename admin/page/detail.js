import { ago, ask, duration, element, remaining } from "./world.js";
import { opposite } from "./layout.js";

// A Detail shows what is known of one room.
export class Detail extends EventTarget {
  name = "";
  #world;
  #panel;
  #events = null; // of the room, newest first; or what went wrong
  #lease = element("dd");
  #heard = element("dd");
  #shown = ""; // see #version

  constructor(world, panel) {
    super();
    this.#world = world;
    this.#panel = panel;
  }

  // #version is what is drawn anew if it changes.
  #version() {
    const room = this.#world.rooms.get(this.name);
    return JSON.stringify([room?.address, room?.registered_at, this.#ways(room)]);
  }

  async open(name, focus = true) {
    this.name = name;
    this.#shown = this.#version();
    this.#events = null;
    this.#panel.hidden = false;
    document.body.classList.add("detailed");
    focus ||= this.#panel.contains(document.activeElement); // which goes now
    this.#draw();
    if (focus) this.#panel.querySelector("h2").focus({ preventScroll: true });
    try {
      if (isOdd(name)) throw new Error("`registry explain` shows it.");
      this.#events = (await ask(`/v1/rooms/${encodeURIComponent(name)}/events`)).events;
    } catch (error) {
      this.#events = error.message;
    }
    if (this.name === name) this.#drawEvents();
  }

  close() {
    this.name = "";
    this.#panel.hidden = true;
    document.body.classList.remove("detailed");
    this.dispatchEvent(new Event("close"));
  }

  // tick draws what changes by itself, and what has changed.
  tick() {
    if (!this.name) return;
    if (this.#shown !== this.#version()) this.open(this.name, false);
    this.#drawTimes();
  }

  #drawTimes() {
    const room = this.#world.rooms.get(this.name);
    if (room) {
      this.#lease.textContent = lease(room);
      this.#heard.textContent = room.last_heard_at ? ago(room.last_heard_at) : "not since the registry began";
    }
    for (const time of this.#panel.querySelectorAll("time")) time.textContent = ago(time.dateTime);
  }

  #draw() {
    const room = this.#world.rooms.get(this.name);
    const close = element("button.close", { type: "button", "aria-label": "Close", onclick: () => this.close() }, "✕");
    const title = element("h2", { tabindex: "-1" }, this.name);
    const parts = [element("div.title", {}, title, close)];
    if (room) {
      this.#drawTimes();
      parts.push(
        element("dl.facts", {},
          ...fact("Address", room.address, "mono"),
          element("dt", {}, "Lease"), this.#lease,
          element("dt", {}, "Heard"), this.#heard,
          ...fact("Registered", new Date(room.registered_at).toLocaleString()),
          ...fact("From", room.from || "–", "mono"),
          ...fact("Owner", room.owner || "nobody", room.owner && "mono"),
        ),
      );
    } else {
      parts.push(element("p.gone", {}, "No room of this name is registered now."));
    }
    const ways = this.#ways(room);
    if (ways.length) {
      const list = ways.map((w) => element("li", {},
        element("span.direction", {}, w.direction), this.#link(w.to), w.note ? element("span.note", {}, w.note) : ""));
      parts.push(element("h3", {}, room?.exits ? "Exits" : "Ways here"), element("ul.exits", {}, ...list));
    }
    parts.push(element("h3", {}, "What happened"), element("ol.events", {}, element("li", {}, "…")));
    if (room) {
      parts.push(element("p.evict", {}, isOdd(this.name)
        ? "A room of this name can be evicted with `registry evict` only."
        : element("button.danger", { type: "button", onclick: () => this.dispatchEvent(new CustomEvent("evict", { detail: this.name })) }, "Evict…")));
    }
    this.#panel.replaceChildren(...parts);
    this.#drawEvents();
  }

  // #ways returns where the exits of a room lead, or if it has none which lead here.
  #ways(room) {
    const exits = Object.entries(room?.exits ?? {});
    if (exits.length) {
      return exits.map(([direction, to]) => {
        const target = this.#world.rooms.get(to);
        const back = Object.values(target?.exits ?? {}).includes(this.name);
        return { direction, to, note: !target ? "leads nowhere: not registered" : back ? "" : "does not come back" };
      });
    }
    const ways = [];
    for (const r of this.#world.rooms.values()) {
      const way = Object.entries(r.exits ?? {}).find(([, to]) => to === this.name);
      if (way) ways.push({ direction: opposite(way[0]), to: r.name, note: "leads here" });
      if (ways.length === 20) break;
    }
    return ways;
  }

  #link(name) {
    return element("button.link", { type: "button", onclick: () => this.dispatchEvent(new CustomEvent("open", { detail: name })) }, name);
  }

  #drawEvents() {
    const list = this.#panel.querySelector(".events");
    if (!list || this.#events === null) return;
    if (typeof this.#events === "string") {
      list.replaceChildren(element("li", {}, this.#events));
      return;
    }
    list.replaceChildren(...this.#events.map((e) => {
      const by = e.until ? `until ${new Date(e.until).toLocaleString()}` : [e.address, e.from && `from ${e.from}`].filter(Boolean).join(" ");
      return element("li", {},
        element("time", { datetime: e.time, title: new Date(e.time).toLocaleString() }, ago(e.time)),
        element("b", {}, e.event), element("span.mono", {}, by));
    }));
  }
}

// isOdd tells names that a browser takes for steps in a path.
const isOdd = (name) => name === "." || name === "..";

function lease(room) {
  const left = remaining(room);
  return left === null ? "none: it stays until it is deregistered" : `${duration(left)} of ${duration(room.ttl_seconds)} left`;
}

function fact(term, text, style) {
  return [element("dt", {}, term), element(style ? "dd." + style : "dd", {}, text)];
}
