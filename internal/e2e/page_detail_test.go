package e2e

import (
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// again registers a room once more where it was, with other exits.
func (h *house) again(address, name string, exits ...string) {
	h.t.Helper()
	h.port++
	h.send("@x= DEREGISTER " + name)
	h.send(fmt.Sprintf("@id=00000000-0000-4000-8000-%012d;ttl=3600;exits=%s REGISTER %s %s", h.port,
		base64.RawURLEncoding.EncodeToString([]byte(strings.Join(exits, "\n"))), address, name))
}

// opened is whether the detail of a room is shown.
func opened(name string) string {
	return `!document.querySelector("#detail").hidden && document.querySelector("#detail h2").textContent === ` + quoted(name)
}

// What the detail of a room says is true as long as it is open.
func TestPageDetail(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.open(h, 1440, 900, "dark")
	exits := func(what, of, condition string) {
		b.t.Helper()
		b.until(what, opened(of)+` && ((text) => `+condition+`)(document.querySelector("#detail .exits")?.textContent ?? "")`)
	}
	b.click(".row .name", "Cellar")
	exits("an exit that leads nowhere", "Cellar", `text.includes("leads nowhere")`)
	sea := h.register("The Open Sea", 3600)
	exits("an exit that leads somewhere now", "Cellar", `text.includes("does not come back")`)
	h.again(sea, "The Open Sea", "w:Cellar")
	exits("an exit that comes back", "Cellar", `!text.includes("nowhere") && !text.includes("back")`)
	h.send("@x= DEREGISTER The Open Sea")
	exits("an exit that leads nowhere again", "Cellar", `text.includes("leads nowhere")`)

	// Times go on.
	b.until("when it was heard of", `parseInt([...document.querySelectorAll("#detail dt")].find((e) => e.textContent === "Heard").nextSibling.textContent) >= 2`)
	b.until("when it was registered", `parseInt(document.querySelector("#detail time")?.textContent) >= 2`)

	// Exits lead to the detail of the room there, and to the way here of one without exits.
	b.click("#detail button.link", "Kitchen")
	b.until("the room there", opened("Kitchen"))
	island := h.register("Island", 3600)
	b.click(".row .name", "Island")
	b.until("a room that no way leads to", opened("Island")+` && !document.querySelector("#detail .exits")`)
	h.register("Boat", 3600, "n:Island")
	exits("the way here", "Island", `text.includes("Boat") && text.includes("leads here")`)

	// What has the keyboard keeps it when the room changes, or goes.
	b.do(chromedp.Focus("#detail .danger"))
	h.again(island, "Island", "s:Boat")
	exits("the exit that it has now", "Island", `!text.includes("leads here")`)
	b.until("the keyboard still there", `document.querySelector("#detail").contains(document.activeElement)`)
	h.send("@x= DEREGISTER Island")
	b.until("that it is gone", `document.querySelector("#detail .gone") !== null && document.querySelector("#detail").contains(document.activeElement)`)
	b.sound(h)
}

// Names are text and nothing else.
func TestPageOddNames(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	h.register("events", 3600)
	names := []string{`<img src=x onerror=alert(1)>`, `a/b?c#d%2F&e=f`, `..`, `.`}
	for _, name := range names {
		h.register(name, 3600, "n:"+name+"2", "s:Foyer")
	}
	b := newBrowser(t)
	b.open(h, 1440, 900, "light")
	for i, name := range names {
		b.do(chromedp.Evaluate(`document.querySelector("#search").value = `+quoted(name)+`; document.querySelector("#search").dispatchEvent(new Event("input"))`, nil))
		b.until("the row of "+name, row(name))
		b.do(chromedp.Evaluate(`[...document.querySelectorAll(".row:not([hidden])")].find((r) => r.dataset.name === `+quoted(name)+`).click()`, nil))
		b.until("the detail of "+name, opened(name)+` && document.querySelector("#detail .exits").textContent.includes(`+quoted(name+"2")+`)`)
		if i < 2 {
			b.until("the history of "+name, `document.querySelector("#detail .events").textContent.includes("registered")`)
		} else { // which a browser takes for steps in a path
			b.until("what to do about "+name, `document.querySelector("#detail .events").textContent.includes("registry explain")`)
			b.until("no button to evict "+name, `!document.querySelector("#detail .danger") && document.querySelector("#detail").textContent.includes("registry evict")`)
		}
	}
	b.click(".row .name", "a/b?c")
	b.evict("a/b?c#d%2F&e=f", houseToken, "")
	b.until("that it is gone", opened("a/b?c#d%2F&e=f")+` && document.querySelector("#detail .gone") !== null`)
	b.sound(h)
}

// evict fills in the dialog for the room whose detail is open.
func (b *browser) evict(name, token, hold string) {
	b.t.Helper()
	b.until("its detail", opened(name))
	b.click("#detail .danger", "Evict")
	b.until("the dialog", `document.querySelector("#evict").open && document.querySelector("#evict-title").textContent.includes(`+quoted(name)+`)`)
	b.do(chromedp.Evaluate(`document.querySelector("#token").value = `+quoted(token), nil), chromedp.Click(`input[name=hold][value="`+hold+`"]`), chromedp.Click("#evict-do"))
}

// A token is kept if that is wanted, and only if it is the right one.
func TestPageToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.open(h, 1440, 900, "dark")
	gone := func(name string) {
		b.t.Helper()
		b.until("that it is gone", opened(name)+` && document.querySelector("#detail .gone") !== null`)
	}
	token := func(name, want string) {
		b.t.Helper()
		b.click(".row .name", name)
		b.until("its detail", opened(name))
		b.click("#detail .danger", "Evict")
		b.until("the dialog", `document.querySelector("#evict").open`)
		if got := get[string](b, `document.querySelector("#token").value`); got != want {
			t.Errorf("the dialog has the token %q already, want %q", got, want)
		}
	}
	b.click(".row .name", "Maze")
	b.evict("Maze", houseToken, "")
	gone("Maze")
	h.register("Maze", 3600) // it may come back: there was no hold
	token("Cellar", "")

	b.do(chromedp.Click("#keep-token"), chromedp.Evaluate(`document.querySelector("#token").value = "a-wrong-one-of-them"`, nil), chromedp.Click("#evict-do"))
	b.until("the refusal", `document.querySelector(".problem").textContent.includes("need the token")`)
	b.do(chromedp.KeyEvent(kb.Escape))
	token("Cellar", "")
	b.do(chromedp.Click("#keep-token"), chromedp.Evaluate(`document.querySelector("#token").value = `+quoted(houseToken), nil), chromedp.Click("#evict-do"))
	gone("Cellar")
	b.do(chromedp.Reload())
	b.until("rooms again", row("Foyer"))
	token("Foyer", houseToken)

	// Without --admin-token-file nobody can, and the page says why.
	b.do(chromedp.Click("#evict-cancel"))
	listen := h.udp.RemoteAddr().String()
	h.kill()
	h.args = h.args[:3]
	h.start(listen, h.http)
	b.until("the registry again", `document.querySelector("#health").className === "ok"`)
	b.evict("Foyer", houseToken, "1h")
	b.until("the refusal", `document.querySelector(".problem").textContent.includes("over the Unix socket only")`)
	b.sound(h, "Failed to load resource", "net::ERR_")
}

// Rows are in the order of what they show, also when a lease is renewed.
func TestPageSorts(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish() // of an hour
	b := newBrowser(t)
	b.open(h, 1440, 900, "light")
	renewed := h.register("B", 301)
	h.register("A", 302)
	first := func(what string, names ...string) {
		b.t.Helper()
		b.until(what, `JSON.stringify([...document.querySelectorAll(".row:not([hidden])")].slice(0, `+fmt.Sprint(len(names))+`).map((r) => r.dataset.name)) === JSON.stringify(`+"["+quoted(names[0])+","+quoted(names[1])+"])")
	}
	b.until("both", row("A")+" && "+row("B"))
	b.click("#grid .head button", "Address")
	first("the address that was first", "Foyer", "Library")
	b.click("#grid .head button", "Address")
	first("the address that was last", "A", "B")
	b.click("#grid .head button", "Lease")
	first("the shorter lease", "B", "A")
	b.until("some time to go by", `foyer.world.rooms.get("A")?.lease_remaining_seconds < 299`)
	h.send("@x= RENEW " + renewed + " B")
	first("the lease that was not renewed", "A", "B")
	b.sound(h)
}

// An answer that was under way while the room changed does not undo that.
func TestPageLateAnswer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	address := h.register("Attic", 3600, "n:Foyer")
	b := newBrowser(t)
	b.open(h, 1000, 800, "dark")
	b.do(chromedp.Evaluate(`
		const real = fetch, learn = foyer.world.learn.bind(foyer.world);
		window.held = [];
		window.fetch = async (path, options) => {
			const answer = await real(path, options);
			if (path.startsWith("/v1/rooms?") && !window.learned) await new Promise((go) => held.push(go));
			return answer;
		};
		foyer.world.learn = (...all) => { learn(...all); window.learned = true; }; 0`, nil))
	b.until("an answer under way", "held.length > 0")
	h.again(address, "Attic", "s:Garden")
	b.until("the change", `foyer.world.rooms.get("Attic")?.exits.south === "Garden"`)
	b.do(chromedp.Evaluate(`held.forEach((go) => go())`, nil))
	b.until("the late answer", "window.learned")
	if got := get[string](b, `JSON.stringify(foyer.world.rooms.get("Attic").exits)`); got != `{"south":"Garden"}` {
		t.Errorf("the exits are those of before: %s", got)
	}
	b.sound(h)
}

// Whoever comes from the map goes back to it, on a wide screen as well, and what is
// selected is to be seen on the map that is shown again.
func TestPageMapAndList(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.open(h, 1440, 900, "light")
	b.until("the map", `foyer.map.at("Cellar") !== undefined`)
	b.do(chromedp.Focus("#canvas"), chromedp.Evaluate(`foyer.map.select("Cellar")`, nil), chromedp.KeyEvent(kb.ArrowRight))
	b.until("a step to where nothing is", `document.querySelector("#map-says").textContent === "The Open Sea, east of Cellar, not registered"`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("what is known of it", opened("The Open Sea")+` && document.querySelector("#detail").textContent.includes("No room of this name is registered now") && document.querySelector("#detail .exits").textContent.includes("Cellar")`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until("the map has the keyboard", `document.activeElement.id === "canvas"`)
	b.click(".row .name", "Maze")
	b.until("its detail", opened("Maze"))
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until("the list has the keyboard", `document.activeElement.id === "grid"`)

	// Dark or light is remembered.
	paper := func() string { return get[string](b, `getComputedStyle(document.documentElement).backgroundColor`) }
	light := paper()
	b.do(chromedp.Click("#theme"))
	dark := paper()
	b.do(chromedp.Reload())
	b.until("rooms again", row("Foyer"))
	if light == dark || paper() != dark {
		t.Errorf("the page is %s, after a click %s, then %s", light, dark, paper())
	}

	b.open(h, 390, 844, "dark")
	b.do(chromedp.Click("#show-map"))
	b.until("the map alone", `document.querySelector("#canvas").clientWidth > 0 && foyer.map.at("Foyer")?.x > 0`)
	drag := func(kind input.MouseType, x float64) chromedp.Action {
		return input.DispatchMouseEvent(kind, x, 500).WithButton(input.Left).WithButtons(1).WithClickCount(1)
	}
	// The map is fitted when it has its size, in the next frame.
	b.do(chromedp.Evaluate(`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))`, nil,
		func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	before := get[float64](b, `foyer.map.at("Foyer").x`)
	b.do(drag(input.MousePressed, 200), drag(input.MouseMoved, 260), drag(input.MouseReleased, 260))
	if after := get[float64](b, `foyer.map.at("Foyer").x`); math.Abs(after-before-60) > 0.5 {
		t.Errorf("moved by 60, the map is at %v, and was at %v", after, before)
	}
	b.do(chromedp.Click("#show-rooms"))
	b.click(".row .name", "Kitchen")
	b.until("its detail", opened("Kitchen"))
	b.do(chromedp.KeyEvent(kb.Escape), chromedp.Click("#show-map"))
	b.until("the room on the map", `(({x, y}, c) => x > 50 && y > 20 && x < c.clientWidth - 50 && y < c.clientHeight - 20)(foyer.map.at("Kitchen"), document.querySelector("#canvas"))`)
	b.sound(h, "Failed to load resource: the server responded with a status of 404") // there is no history of The Open Sea
}
