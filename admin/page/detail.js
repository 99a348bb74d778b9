import { ago, ask, duration, element, remaining } from "./world.js";
import { opposite } from "./layout.js";

// A Detail shows what is known of one room.
export class Detail extends EventTarget {
  name = "";
  #world;
  #panel;
  #events = null; // of the room, newest first; or what went wrong
  #lease = element("dd");

  constructor(world, panel) {
    super();
    this.#world = world;
    this.#panel = panel;
    world.addEventListener("change", () => {
      if (this.name && this.#shown !== this.#version()) this.open(this.name, false);
    });
  }

  #shown = "";
  #version() {
    const r = this.#world.rooms.get(this.name);
    return r ? r.address + r.registered_at + JSON.stringify(r.exits ?? null) : "";
  }

  async open(name, focus = true) {
    this.name = name;
    this.#shown = this.#version();
    this.#events = null;
    this.#panel.hidden = false;
    document.body.classList.add("detailed");
    this.#draw();
    if (focus) this.#panel.querySelector("h2").focus();
    try {
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

  tick() {
    const room = this.#world.rooms.get(this.name);
    if (room) this.#lease.textContent = lease(room);
  }

  #draw() {
    const room = this.#world.rooms.get(this.name);
    const close = element("button.close", { type: "button", "aria-label": "Close", onclick: () => this.close() }, "✕");
    const title = element("h2", { tabindex: "-1" }, this.name);
    const parts = [element("div.title", {}, title, close)];
    if (room) {
      this.tick();
      parts.push(
        element("dl.facts", {},
          ...fact("Address", room.address, "mono"),
          element("dt", {}, "Lease"), this.#lease,
          ...fact("Heard", room.last_heard_at ? ago(room.last_heard_at) : "not since the registry began"),
          ...fact("Registered", new Date(room.registered_at).toLocaleString()),
          ...fact("From", room.from || "–", "mono"),
          ...fact("Owner", room.owner || "nobody", "mono"),
        ),
        ...this.#exits(room),
      );
    } else {
      parts.push(element("p.gone", {}, "No room of this name is registered now."), ...this.#leadsHere());
    }
    parts.push(element("h3", {}, "What happened"), element("ol.events", {}, element("li", {}, "…")));
    if (room) {
      // A browser takes these two for steps in a path.
      const odd = this.name === "." || this.name === "..";
      parts.push(element("p.evict", {}, odd
        ? "A room of this name can be evicted with `registry evict` only."
        : element("button.danger", { type: "button", onclick: () => this.dispatchEvent(new CustomEvent("evict", { detail: this.name })) }, "Evict…")));
    }
    this.#panel.replaceChildren(...parts);
    this.#drawEvents();
  }

  #exits(room) {
    const exits = Object.entries(room.exits ?? {});
    const list = exits.map(([direction, to]) => {
      const target = this.#world.rooms.get(to);
      const back = Object.values(target?.exits ?? {}).includes(this.name);
      const note = !target ? "leads nowhere: not registered" : back ? "" : "does not come back";
      return element("li", {},
        element("span.direction", {}, direction), this.#link(to),
        note ? element("span.note", {}, note) : "");
    });
    return exits.length ? [element("h3", {}, "Exits"), element("ul.exits", {}, ...list)] : this.#leadsHere();
  }

  #leadsHere() {
    const from = [...this.#world.rooms.values()].filter((r) => Object.values(r.exits ?? {}).includes(this.name));
    if (!from.length) return [];
    const list = from.slice(0, 20).map((r) => {
      const [direction] = Object.entries(r.exits).find(([, to]) => to === this.name);
      return element("li", {}, element("span.direction", {}, opposite(direction)), this.#link(r.name), element("span.note", {}, "leads here"));
    });
    return [element("h3", {}, "Ways here"), element("ul.exits", {}, ...list)];
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

function lease(room) {
  const left = remaining(room);
  return left === null ? "none: it stays until it is deregistered" : `${duration(left)} of ${duration(room.ttl_seconds)} left`;
}

function fact(term, text, style) {
  return [element("dt", {}, term), element(style ? "dd." + style : "dd", {}, text)];
}
