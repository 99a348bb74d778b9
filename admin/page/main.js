import { Detail } from "./detail.js";
import { Evictor } from "./evict.js";
import { WorldMap } from "./map.js";
import { figure, mean, plot } from "./plot.js";
import { Table } from "./table.js";
import { World, ask, duration } from "./world.js";

const $ = (id) => document.getElementById(id);
const world = new World();
const table = new Table(world, $("grid"));
const map = new WorldMap(world, $("map"));
const detail = new Detail(world, $("detail"));
const evictor = new Evictor($("evict"));
let status = null; // the last answer of /v1/status, or an Error

function open(name) {
  table.select(name);
  map.select(name);
  map.reveal(name);
  detail.open(name);
}
let opener; // has the keyboard when the detail is closed
for (const [part, from] of [[table, $("grid")], [map, $("canvas")], [detail]]) {
  part.addEventListener("open", (e) => {
    opener = from ?? opener;
    open(e.detail);
  });
}
detail.addEventListener("evict", (e) => evictor.open(e.detail));
detail.addEventListener("close", () => opener.focus());

function show(view) {
  opener = view === "map" ? $("canvas") : $("grid");
  document.body.dataset.view = view;
  $("show-rooms").setAttribute("aria-pressed", view === "rooms");
  $("show-map").setAttribute("aria-pressed", view === "map");
  history.replaceState(null, "", view === "map" ? "#map" : location.pathname);
}
$("show-rooms").addEventListener("click", () => show("rooms"));
$("show-map").addEventListener("click", () => show("map"));
show(location.hash === "#map" ? "map" : "rooms");

$("search").addEventListener("input", (e) => {
  if (document.body.dataset.view === "map" && innerWidth < 1300) show("rooms");
  table.filter(e.target.value);
});
$("search").addEventListener("keydown", (e) => {
  if (e.key === "ArrowDown" || e.key === "Enter") {
    e.preventDefault();
    opener = $("grid");
    opener.focus();
    if (table.rows.length) table.select(table.rows[0].name);
    if (e.key === "Enter" && table.rows.length) open(table.rows[0].name);
  }
});
addEventListener("keydown", (e) => {
  if ($("evict").open) return;
  const typing = e.target.matches?.("input");
  if (e.key === "/" && !typing) {
    e.preventDefault();
    $("search").focus();
  } else if (e.key === "Escape" && detail.name) {
    detail.close();
  } else if (e.key === "Escape" && typing) {
    $("search").value = "";
    table.filter("");
    $("grid").focus();
  }
});

$("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  setTheme(now === "dark" ? "light" : "dark");
});
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("foyer-theme", theme);
  map.draw();
}
if (localStorage.getItem("foyer-theme")) setTheme(localStorage.getItem("foyer-theme"));

world.addEventListener("change", () => {
  $("count").textContent = world.rooms.size.toLocaleString("en");
});
table.addEventListener("found", () => {
  const searched = $("search").value.trim() !== "";
  const none = table.rows.length === 0;
  $("found").textContent = searched ? `${table.found.toLocaleString("en")} found` : "";
  const empty = document.querySelector("#grid .empty");
  empty.hidden = !none || world.state === "connecting";
  empty.textContent = searched ? "No room has that in its name or address." : "No room is registered yet. The lights are on.";
});

// health says in words whether all is well.
function health() {
  let [state, text] = ["ok", "All is well"];
  if (world.state === "broken") {
    [state, text] = ["bad", `The registry has not answered since ${new Date(world.since).toLocaleTimeString()}`];
  } else if (status instanceof Error) {
    [state, text] = ["bad", status.message];
  } else if (status && !status.ready) {
    [state, text] = ["bad", status.problem];
  } else if (world.state === "connecting" || !status) {
    [state, text] = ["wait", "Connecting"];
  }
  $("health").className = state;
  const words = $("health").querySelector(".text");
  if (words.textContent !== text) words.textContent = text;
  document.body.classList.toggle("broken", world.state === "broken");
}
world.addEventListener("state", health);

// every calls fn again and again, the next time some time after it is done, and not
// while nobody looks.
async function every(milliseconds, fn) {
  for (;;) {
    if (!document.hidden) {
      try {
        await fn();
      } catch {} // the stream tells that the registry is gone
    }
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
  }
}

every(3000, async () => {
  try {
    status = await ask("/v1/status");
    $("version").textContent = status.version.split(" ")[0];
    $("version").title = `${status.version}, up ${duration(status.uptime_seconds)}, ${status.store.path}`;
  } catch (error) {
    status = error;
  }
  health();
});
every(2000, async () => {
  const { samples } = await ask("/v1/rates");
  const requests = samples.map((s) => s.lookups + s.registers + s.renewals + s.deregisters + s.other);
  const commits = samples.map((s) => s.commits);
  for (const [name, values] of Object.entries({ requests, commits })) {
    $(name).textContent = figure(mean(values));
    plot($(name + "-plot"), values);
  }
});
every(2500, async () => {
  const names = [...new Set([...table.seen(), detail.name])].filter(Boolean).slice(0, 100);
  if (!names.length) return;
  const query = names.map((n) => "name=" + encodeURIComponent(n)).join("&");
  const asked = performance.now();
  world.learn((await ask("/v1/rooms?" + query)).rooms, asked);
});
every(500, async () => {
  table.tick();
  detail.tick();
});

window.foyer = { world, table, map, detail }; // for the curious, and for tests
world.connect();
