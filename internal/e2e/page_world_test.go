package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// largeHouse is a world of three floors, in which some exits do not come back, one leads
// nowhere, and some ways are longer than others. A line is a room and its exits.
const largeHouse = `Foyer; n:Library; s:Garden; e:Kitchen; w:Long Gallery
Library; s:Foyer; w:Reading Room; u:Observatory
Reading Room; e:Library
Observatory; u:Attic; d:Library
Attic; e:Attic of Things That Somebody May Want Again; d:Observatory
Attic of Things That Somebody May Want Again; w:Attic
Kitchen; s:Greenhouse; e:Pantry; w:Foyer; d:Cellar
Pantry; w:Kitchen
Cellar; e:Wine Cellar; w:Crypt; u:Kitchen
Wine Cellar; w:Cellar
Crypt; s:Old Tunnel; e:Cellar
Old Tunnel; n:Crypt; s:Boathouse
Boathouse; n:Old Tunnel; e:Jetty; u:Pond
Jetty; e:The Open Sea; w:Boathouse
Long Gallery; n:Gallery of Mirrors; e:Foyer; w:Music Room
Gallery of Mirrors; s:Long Gallery
Music Room; s:Ballroom; e:Long Gallery
Ballroom; n:Music Room; e:Terrace
Terrace; s:Rose Garden; w:Ballroom
Rose Garden; n:Terrace; e:Garden
Garden; n:Foyer; s:Pond; e:Greenhouse; w:Rose Garden
Pond; n:Garden; w:Maze
Maze; n:Terrace; e:Maze
Greenhouse; n:Kitchen; e:Orchid House; w:Garden
Orchid House; w:Greenhouse
غرفة الانتظار; e:待合室
待合室; e:🦉 Owlery; w:غرفة الانتظار
🦉 Owlery; w:待合室
Porter’s Lodge
Sundial`

// move registers the rooms of a world, with leases of different lengths.
func (h *house) move(world string) {
	h.t.Helper()
	for i, line := range strings.Split(world, "\n") {
		room := strings.Split(line, "; ")
		h.register(room[0], 3600-60*i, room[1:]...)
	}
}

// awaited returns what a promise becomes.
func awaited[T any](b *browser, expression string) (v T) {
	b.t.Helper()
	b.do(chromedp.Evaluate(expression, &v, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return v
}

// Rooms are where the exits of the others say, also where ways have different lengths,
// and none is on another or on a way that it has nothing to do with.
func TestPageLayout(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.open(h, 1000, 800, "dark")
	// A floor is a random walk over the plane; stairs join one to the next.
	const walks = `(floors, size, oneway) => {
		let seed = 7;
		const random = (n) => (seed = (seed * 48271) % 0x7fffffff) % n;
		const rooms = new Map();
		for (let z = 0, x = 0, y = 0, from; z < floors; z++) {
			for (let n = 0; n < size; n++) {
				const direction = ["north", "east", "south", "west"][random(4)];
				const name = () => [x, y, z].join();
				const open = (name) => rooms.get(name) ?? rooms.set(name, {exits: {}}).get(name);
				if (n === 0 && z > 0) open(from).exits.up = name(), open(name()).exits.down = from;
				from = name();
				x += direction === "east" ? 1 : direction === "west" ? -1 : 0;
				y += direction === "south" ? 1 : direction === "north" ? -1 : 0;
				open(from).exits[direction] = name();
				if (random(100) >= oneway) open(name()).exits[opposite(direction)] = from;
				else open(name());
				from = name();
			}
		}
		return rooms;
	}`
	for _, c := range []struct {
		name  string
		bends int    // ways that cannot but contradict others
		rooms string // as the page has them
	}{
		{"a small house", 2, `foyer.world.rooms`},
		{"exits of which one contradicts the others", 1, `new Map([["A", {exits: {north: "D", east: "E", south: "B"}}], ["B", {exits: {north: "A", west: "C"}}],
			["C", {exits: {north: "A"}}], ["D", {exits: {south: "A"}}], ["E", {exits: {west: "A"}}]])`},
		{"a ring of corridors of different lengths", 0, `new Map([
			["A", {exits: {east: "B", south: "D"}}], ["B", {exits: {west: "A", east: "C"}}], ["C", {exits: {west: "B", south: "E"}}],
			["D", {exits: {north: "A", east: "E"}}], ["E", {exits: {north: "C", west: "D"}}]])`},
		{"rooms that all lead to one", 499, `new Map([["Hall", {}], ...Array.from({length: 1000}, (_, i) => ["Cell " + i, {exits: {[i % 2 ? "north" : "down"]: "Hall"}}])])`},
		{"hundreds of rooms", 0, `(` + walks + `)(1, 900, 0)`},
		{"floors of rooms with ways that do not come back", 0, `(` + walks + `)(4, 300, 10)`},
	} {
		// A firm way leads to and fro in opposite directions.
		wrong := awaited[[]string](b, `import("/assets/layout.js").then(({layout, opposite}) => {
			const rooms = `+c.rooms+`;
			const {places, ways} = layout(rooms);
			const wrong = [];
			const at = new Map([...places].map(([name, {x, y}]) => [x + "," + y, name]));
			if (at.size < places.size) wrong.push(places.size - at.size + " rooms are on others");
			const bends = ways.filter((w) => w.shape === "bend").length;
			if (bends > `+fmt.Sprint(c.bends)+`) wrong.push(bends + " ways are not where their exits point");
			if (places.size < 5) wrong.push("there are only " + places.size + " rooms");
			for (const {from, to, direction, shape} of ways) {
				const [a, b] = [places.get(from), places.get(to)];
				const way = from + " " + direction + " " + to;
				const firm = rooms.get(to)?.exits?.[opposite(direction)] === from;
				const [dx, dy] = [Math.sign(b.x - a.x), Math.sign(b.y - a.y)];
				const is = dx && dy ? "" : dx ? (dx > 0 ? "east" : "west") : dy > 0 ? "south" : "north";
				if (direction === "up" || direction === "down") {
					if ((dy < 0) !== (direction === "up")) wrong.push(way + " goes the wrong way");
				} else if (is !== direction) {
					if (firm) wrong.push(way + " is not straight");
				} else if (firm || shape !== "around") {
					for (let x = a.x + dx, y = a.y + dy; x !== b.x || y !== b.y; x += dx, y += dy) {
						if (at.has(x + "," + y)) wrong.push(at.get(x + "," + y) + " hides " + way);
					}
				}
			}
			return wrong;
		})`)
		for _, w := range wrong[:min(len(wrong), 5)] {
			t.Errorf("%s: %s", c.name, w)
		}
	}
	b.sound(h)
}

// Who has come and who has gone is marked for a while, and in words as well.
func TestPageMarksNews(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.open(h, 1440, 900, "light")
	b.do(chromedp.Evaluate(`
		window.marks = [];
		new MutationObserver((all) => {
			for (const {target} of all) marks.push(target.className + " " + target.dataset.name + " " + target.textContent);
		}).observe(document.querySelector("#grid .body"), {subtree: true, attributeFilter: ["class"]}); 0`, nil))
	marked := func(what, name, text string) {
		b.t.Helper()
		b.until(name+" to be marked", `marks.some((m) => m.startsWith(`+quoted("row "+what+" "+name)+`) && m.includes(`+quoted(text)+`))`)
		b.until("the mark to go", `document.querySelector(`+quoted(".row."+what+":not([hidden])")+`) === null`)
	}
	h.register("Attic", 3600)
	marked("arrived", "Attic", "59 min")
	h.send("@x= DEREGISTER Attic")
	marked("gone", "Attic", "deregistered")
	h.register("Ghost", 5)
	marked("gone", "Ghost", "expired")
	b.until("the rows to be those of before", `document.querySelector("#grid").getAttribute("aria-rowcount") === "12" && document.querySelector("#count").textContent === "11"`)
	b.until("the version", `document.querySelector("#version").textContent !== ""`)
	b.sound(h)
}

// An empty world says so, and so does a map of rooms that are not joined.
func TestPageOfAnEmptyWorld(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := newBrowser(t)
	b.do(emulation.SetDeviceMetricsOverride(1440, 900, 1, false), chromedp.Navigate("http://"+h.http+"/"))
	said := func(what, selector, text string) {
		b.t.Helper()
		b.until(what, `((e) => !e.hidden && e.textContent.includes(`+quoted(text)+`))(document.querySelector(`+quoted(selector)+`))`)
	}
	said("that nothing is there", "#grid .empty", "No room is registered yet")
	h.register("Sundial", 3600)
	said("that no exits are known", "#map .empty", "No room has told where its exits lead")
	b.until("one row", row("Sundial")+` && document.querySelector("#grid .empty").hidden`)
	h.register("Garden", 3600, "n:Sundial")
	b.until("a map", `document.querySelector("#map .empty").hidden && foyer.map.at("Sundial").y < foyer.map.at("Garden").y`)
	h.register("Lodge", 3600)
	said("who is apart", "#apart", "Lodge")
	b.until("the map to be as it was", `document.querySelector("#canvas").getAttribute("aria-label") === "Map of 2 rooms"`)
	h.send("@x= DEREGISTER Garden")
	said("that no exits are known again", "#map .empty", "No room has told where its exits lead")
	b.sound(h)
}

// What the page looks like with a larger house is kept in build/screenshots.
func TestPageOfAHouse(t *testing.T) {
	t.Parallel()
	shots := "build/screenshots"
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	h.move(largeHouse)
	b := newBrowser(t)
	for _, look := range []struct {
		name          string
		width, height int64
		scheme, room  string
		isMap         bool
	}{
		{"house-desktop-dark", 1440, 900, "dark", "", false},
		{"house-desktop-light-room", 1440, 900, "light", "Pond", false},
		{"house-tablet-dark-map", 1000, 800, "dark", "", true},
		{"house-phone-light-map", 390, 844, "light", "", true},
		{"house-small-phone-dark", 360, 640, "dark", "", false},
	} {
		b.open(h, look.width, look.height, look.scheme)
		b.until("thirty rooms", `document.querySelector("#count").textContent === "30"`)
		b.until("a map of those that are joined", `document.querySelector("#canvas").getAttribute("aria-label") === "Map of 29 rooms"`) // and of the sea
		if look.room != "" {
			b.click(".row .name", look.room)
			b.until("its history", `document.querySelector("#detail .events")?.textContent.includes("registered")`)
		}
		if look.isMap {
			b.do(chromedp.Click("#show-map"))
			b.until("the map", `document.querySelector("#canvas").clientWidth > 0 && foyer.map.at("Foyer").x > 0`)
		}
		if get[bool](b, `document.documentElement.scrollWidth > innerWidth`) {
			t.Errorf("%s: the page is wider than the window", look.name)
		}
		var shot []byte
		awaited[float64](b, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))`) // it is drawn
		b.do(chromedp.CaptureScreenshot(&shot))
		if err := os.WriteFile(filepath.Join(shots, look.name+".png"), shot, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.sound(h)
}
