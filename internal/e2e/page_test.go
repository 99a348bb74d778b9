package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"foyer/internal/testenv"
)

const houseToken = "a-token-of-some-length"

// A house is a registry with its page, and rooms that are registered by hand.
type house struct {
	t    *testing.T
	args []string
	cmd  *exec.Cmd
	udp  net.Conn
	http string
	port int
}

func newHouse(t *testing.T) *house {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(houseToken), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, args: []string{"serve", "--store", filepath.Join(t.TempDir(), "rooms.db"), "--admin-token-file", token, "--log-level", "error"}}
	h.start("127.0.0.1:0", "127.0.0.1:0")
	t.Cleanup(func() { h.kill() })
	return h
}

func (h *house) start(listen, http string) {
	h.t.Helper()
	dir, err := bin()
	if err != nil {
		h.t.Fatal(err)
	}
	h.cmd = exec.Command(filepath.Join(dir, "registry"), append(h.args, "--listen", listen, "--http", http)...)
	h.cmd.Env, h.cmd.Stderr = ownEnvironment(), os.Stderr
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	var udp string
	if _, err := fmt.Fscanf(out, "registry: listening on %s\nregistry: http on %s\n", &udp, &h.http); err != nil {
		h.t.Fatal(err)
	}
	if h.udp, err = net.Dial("udp", udp); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
	h.udp.Close()
}

// send sends a request, and wants OK.
func (h *house) send(line string) {
	h.t.Helper()
	if reply := h.ask(line); !strings.Contains(reply, "OK") || strings.Contains(reply, "NOTOK") {
		h.t.Fatalf("%s: %s", line, reply)
	}
}

// ask sends a request, again until it is answered.
func (h *house) ask(line string) (reply string) {
	h.t.Helper()
	buf := make([]byte, 2048)
	for range 20 {
		if _, err := h.udp.Write([]byte(line)); err != nil {
			h.t.Fatal(err)
		}
		_ = h.udp.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := h.udp.Read(buf); err == nil {
			return string(buf[:n])
		}
	}
	h.t.Fatalf("%s: no answer", line)
	return ""
}

// register registers a room with exits like "n:Library", and returns its address.
func (h *house) register(name string, ttl int, exits ...string) (address string) {
	h.t.Helper()
	h.port++
	address = fmt.Sprintf("room://127.0.0.1:%d", 20000+h.port)
	tags := fmt.Sprintf("@id=00000000-0000-4000-8000-%012d;ttl=%d", h.port, ttl)
	if len(exits) > 0 {
		tags += ";exits=" + base64.RawURLEncoding.EncodeToString([]byte(strings.Join(exits, "\n")))
	}
	h.send(tags + " REGISTER " + address + " " + name)
	return address
}

// roomd runs a real room.
func (h *house) roomd(name, ttl string) *program {
	h.t.Helper()
	dir, err := bin()
	if err != nil {
		h.t.Fatal(err)
	}
	c := exec.Command(filepath.Join(dir, "roomd"), name, "A room.", "--ttl", ttl, "--discovery", h.udp.RemoteAddr().String(), "--state", h.t.TempDir())
	c.Env = ownEnvironment()
	p, err := launch(c, c.Start)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = c.Process.Kill()
		<-p.ended
	})
	return p
}

// furnish registers a house of rooms, with one that leads nowhere, one that does not
// lead back, one above and one below, and one without exits.
func (h *house) furnish() {
	for _, room := range [][]string{
		{"Foyer", "n:Library", "s:Garden", "e:Kitchen"},
		{"Library", "s:Foyer", "u:Observatory"},
		{"Observatory", "d:Library"},
		{"Kitchen", "w:Foyer", "d:Cellar"},
		{"Cellar", "e:The Open Sea", "u:Kitchen"},
		{"Garden", "n:Foyer", "w:Maze"},
		{"Maze", "n:Foyer"},
		{"غرفة الانتظار", "e:待合室"},
		{"待合室", "w:غرفة الانتظار"},
		{"A Room of a Name That Is Much Longer Than Its Box on the Map 🦉", "w:Maze"},
		{"Sundial"},
	} {
		h.register(room[0], 3600, room[1:]...)
	}
}

// A browser is a tab of a real one, with all that went wrong in it.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
	hosts    map[string]bool // that it has asked
}

func newBrowser(t *testing.T, options ...chromedp.ExecAllocatorOption) *browser {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		testenv.NotRun(t, "needs chromium")
	}
	said, err := os.Create(filepath.Join(t.TempDir(), "chromium.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the browser has ended
		said.Close()
		if b, _ := os.ReadFile(said.Name()); t.Failed() {
			t.Logf("chromium said:\n%s", b[max(0, len(b)-4000):])
		}
	})
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.CombinedOutput(said),
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true),
		chromedp.WSURLReadTimeout(time.Minute),
	), options...)...)
	t.Cleanup(cancel)
	b := &browser{t: t, hosts: map[string]bool{}}
	b.ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() { // waits until it has ended, so that its folder can be removed
		_ = chromedp.Cancel(b.ctx)
		cancel()
	})
	chromedp.ListenTarget(b.ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.problems = append(b.problems, e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
				b.problems = append(b.problems, fmt.Sprintf("console: %s", e.Args[0].Value))
			}
		case *cdplog.EventEntryAdded: // violations of the security policy among them
			if e.Entry.Level == cdplog.LevelError || e.Entry.Source == cdplog.SourceSecurity {
				b.problems = append(b.problems, e.Entry.Text)
			}
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(e.Request.URL); err == nil && u.Scheme != "data" {
				b.hosts[u.Host] = true
			}
		}
	})
	// The browser ends with the context that it is first run with.
	if err := chromedp.Run(b.ctx, cdplog.Enable(), network.Enable()); err != nil {
		t.Fatal(err)
	}
	return b
}

// do runs actions, each of which waits for what it needs.
func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// until waits until an expression is true.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute) // for a page that hangs
	defer cancel()
	err := chromedp.Run(ctx, chromedp.Poll(expression, nil, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(30*time.Second)))
	if err != nil {
		var text string
		ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
		defer cancel()
		_ = chromedp.Run(ctx, chromedp.Text("body", &text))
		b.t.Fatalf("%s: %v\n%.2000s", what, err, text)
	}
}

// eventually waits until a condition outside of the page is true.
func (b *browser) eventually(what string, is func() bool) {
	b.t.Helper()
	limit := time.After(patience)
	for tick := time.Tick(20 * time.Millisecond); !is(); {
		select {
		case <-tick:
		case <-limit:
			b.t.Fatalf("%s: not within %s; %q", what, patience, b.problems)
		}
	}
}

// get evaluates an expression.
func get[T any](b *browser, expression string) (v T) {
	b.t.Helper()
	b.do(chromedp.Evaluate(expression, &v))
	return v
}

// open opens the page of a house in a window of a size.
func (b *browser) open(h *house, width, height int64, scheme string) {
	b.t.Helper()
	b.do(
		emulation.SetDeviceMetricsOverride(width, height, 1, false),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}),
		chromedp.Navigate("http://"+h.http+"/"),
	)
	b.until("the page says that all is well", `document.querySelector("#health").className === "ok"`)
	b.until("rooms are there", row("Foyer"))
}

// sound expects that nothing went wrong but for what is expected, and that nobody but
// the registry was asked.
func (b *browser) sound(h *house, expected ...string) {
	b.t.Helper()
	for _, w := range b.wrong(h, expected...) {
		b.t.Error(w)
	}
}

// wrong returns what has gone wrong and is not expected.
func (b *browser) wrong(h *house, expected ...string) (all []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		if !slices.ContainsFunc(expected, func(e string) bool { return strings.Contains(p, e) }) {
			all = append(all, "in the browser: "+p)
		}
	}
	for host := range b.hosts {
		if host != h.http {
			all = append(all, "it has asked "+host)
		}
	}
	return all
}

// slash presses "/" as a keyboard does: chromedp.KeyEvent types it as well if the page
// has taken the key for something else.
func slash() chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		return input.DispatchKeyEvent(input.KeyDown).WithKey("/").WithText("/").Do(ctx)
	})
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// row is whether a room's row is there.
func row(name string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(".row:not([hidden]):not(.gone)")].some((r) => r.dataset.name === %s)`, quoted(name))
}

// leaseText is what a room's row says of its lease.
func leaseText(name string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(".row:not([hidden])")].find((r) => r.dataset.name === %s)?.querySelector(".left").textContent`, quoted(name))
}

// click clicks the first element of a selector with a text.
func (b *browser) click(selector, text string) {
	b.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll(%s)].find((e) => e.textContent.includes(%s))`, quoted(selector), quoted(text))
	b.until(selector+" of "+text, "!!"+find)
	b.do(chromedp.Evaluate(find+".click()", nil))
}

// Rooms come and go on the page as they do, and their leases run down.
func TestPageIsLive(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.open(h, 1440, 900, "dark")
	b.until("eleven rooms", `document.querySelector("#count").textContent === "11"`)

	parlour, pantry := h.roomd("Parlour", "5s"), h.roomd("Pantry", "1m")
	h.register("Ghost", 5)
	h.register("Attic", 60)
	b.until("rooms that came", row("Parlour")+" && "+row("Pantry")+" && "+row("Attic"))
	b.until("the room that never renews to go", "!"+row("Ghost"))

	// What the page shows of a lease in seconds, each time that it is another figure.
	b.do(chromedp.Evaluate(`window.shown = []; setInterval(() => {
		const left = parseInt(`+leaseText("Parlour")+`);
		if (left !== window.shown.at(-1) && left >= 0) window.shown.push(left);
	}, 50)`, nil))
	b.until("a lease that runs down", `shown.some((left, i) => left < shown[i - 1])`)
	b.until("a lease that was renewed", `shown.some((left, i) => left > shown[i - 1])`)

	h.send("@x= DEREGISTER Attic")
	b.until("the room that left to go", "!"+row("Attic"))
	_ = pantry.cmd.Process.Signal(os.Interrupt)
	b.until("the room that was stopped to go", "!"+row("Pantry"))
	_ = parlour.cmd.Process.Kill()
	b.until("the room that was killed to go", "!"+row("Parlour"))
	b.until("requests a second", `parseFloat(document.querySelector("#requests").textContent) >= 0 && document.querySelector("#requests-plot .line") !== null`)

	// The registry is killed and comes back, and so does what the page shows.
	listen := h.udp.RemoteAddr().String()
	h.kill()
	b.until("the page to say so", `document.querySelector("#health").className === "bad" && document.querySelector("#health").textContent.includes("has not answered")`)
	h.start(listen, h.http)
	h.register("Landing", 3600)
	b.until("what came since", row("Landing")+` && document.querySelector("#health").className === "ok"`)
	b.sound(h, "Failed to load resource", "net::ERR_")
}

// What the other tests would not see, they could not find.
func TestPageProblemsAreSeen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.open(h, 1000, 800, "dark")
	b.sound(h)
	for _, try := range []struct{ script, seen string }{
		{`console.error("a word")`, `in the browser: console: "a word"`},
		{`setTimeout(() => { throw new Error("thrown") })`, "Error: thrown"},
		{`document.body.setAttribute("style", "color: red")`, "inline style"},
		{`document.head.append(Object.assign(document.createElement("script"), {textContent: "1"}))`, "inline script"},
		{`new Image().src = "http://127.0.0.2:9/a.png"`, "violates the following Content Security Policy directive: \"img-src"},
		{`location.href = "http://127.0.0.2:9/"`, "it has asked 127.0.0.2:9"}, // the last one: it leaves the page
	} {
		b.do(chromedp.Evaluate(try.script+"; 0", nil))
		b.eventually(try.seen, func() bool { return strings.Contains(strings.Join(b.wrong(h), "\n"), try.seen) })
	}
}

// Searching, sorting and walking through the list, with the keyboard alone.
func TestPageByKeyboard(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.open(h, 1000, 800, "light")
	b.do(slash(), chromedp.KeyEvent("gard"))
	b.until("one that was found", `document.querySelector("#found").textContent === "1 found" && `+row("Garden")+" && !"+row("Foyer"))
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("its detail", `document.activeElement.textContent === "Garden" && document.querySelector("#detail").textContent.includes("does not come back")`)
	b.until("its history", `document.querySelector(".events").textContent.includes("registered")`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until("no detail", `document.querySelector("#detail").hidden && document.activeElement.id === "grid"`)
	b.do(slash(), chromedp.KeyEvent(kb.Escape))
	b.until("all", `document.querySelector("#grid").getAttribute("aria-rowcount") === "12"`)
	b.do(chromedp.KeyEvent(kb.End))
	b.until("the last row", `document.getElementById(document.querySelector("#grid").getAttribute("aria-activedescendant"))?.dataset.name === "غرفة الانتظار" || document.getElementById(document.querySelector("#grid").getAttribute("aria-activedescendant"))?.dataset.name === "待合室"`)
	b.do(chromedp.KeyEvent(kb.Home), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter))
	b.until("the second room", `document.querySelector("#detail h2").textContent === "Cellar" && document.querySelector("#detail").textContent.includes("leads nowhere")`)
	b.click("#grid .head button", "Name")
	b.until("the other way round", `document.querySelector(".head .name").getAttribute("aria-sort") === "descending"`)
	b.do(chromedp.SetValue("#search", "127.0.0.1:20001"), chromedp.Evaluate(`document.querySelector("#search").dispatchEvent(new Event("input"))`, nil))
	b.until("found by its address", row("Foyer")+` && document.querySelector("#found").textContent === "1 found"`)
	b.sound(h)
}

// The map has the room to the north above, and tells of exits that lead nowhere.
func TestPageMap(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.open(h, 1000, 800, "dark")
	b.do(chromedp.Click("#show-map"))
	b.until("the map", `document.querySelector("#canvas").getAttribute("aria-label")?.startsWith("Map of 11 ")`) // 10 with exits, and one that is not there
	type place struct{ X, Y float64 }
	at := func(name string) place { return get[place](b, "foyer.map.at("+quoted(name)+")") }
	hall := at("Foyer")
	if p := at("Library"); p.Y >= hall.Y || p.X != hall.X {
		t.Errorf("the library is at %v, the foyer at %v", p, hall)
	}
	if p := at("Garden"); p.Y <= hall.Y || p.X != hall.X {
		t.Errorf("the garden is at %v, the foyer at %v", p, hall)
	}
	if p := at("Kitchen"); p.X <= hall.X || p.Y != hall.Y {
		t.Errorf("the kitchen is at %v, the foyer at %v", p, hall)
	}
	if p, below := at("Observatory"), at("Library"); p.Y >= below.Y {
		t.Errorf("the observatory is at %v, the library at %v", p, below)
	}
	if p, above := at("Cellar"), at("Kitchen"); p.Y <= above.Y {
		t.Errorf("the cellar is at %v, the kitchen at %v", p, above)
	}
	if ghosts := get[[]string](b, `[...foyer.map.plan.places].filter(([, p]) => p.ghost).map(([n]) => n)`); len(ghosts) != 1 || ghosts[0] != "The Open Sea" {
		t.Errorf("ghosts: %q", ghosts)
	}
	kinds := get[map[string]string](b, `Object.fromEntries(foyer.map.plan.ways.map((w) => [w.from + ">" + w.to, w.kind]))`)
	for way, want := range map[string]string{"Cellar>The Open Sea": "nowhere", "Garden>Maze": "oneway", "Maze>Foyer": "oneway", "Foyer>Library": "both"} {
		if kinds[way] != want {
			t.Errorf("the way %s is %q, want %s; there are %v", way, kinds[way], want, kinds)
		}
	}
	b.until("the room without exits beside it", `document.querySelector("#apart").textContent.includes("Sundial")`)

	box := get[place](b, `(({left, top}) => ({x: left, y: top}))(document.querySelector("#canvas").getBoundingClientRect())`)
	b.do(chromedp.MouseClickXY(box.X+hall.X, box.Y+hall.Y))
	b.until("the room that was clicked", `document.querySelector("#detail h2")?.textContent === "Foyer"`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until("the map has the keyboard", `document.activeElement.id === "canvas"`)
	b.do(chromedp.KeyEvent(kb.ArrowUp))
	b.until("a step north", `document.querySelector("#map-says").textContent === "Library, north of Foyer"`)
	b.do(chromedp.KeyEvent(kb.PageUp))
	b.until("a step up", `document.querySelector("#map-says").textContent === "Observatory, up of Library"`)
	b.do(chromedp.KeyEvent(kb.ArrowUp))
	b.until("no way", `document.querySelector("#map-says").textContent === "No exit north from Observatory"`)
	b.sound(h)
}

// Evicting needs the token, and says so.
func TestPageEvicts(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.open(h, 1440, 900, "light")
	evict := func(name, token, hold string) {
		b.t.Helper()
		b.click(".row .name", name)
		b.evict(name, token, hold)
	}
	problem := func(text string) {
		b.t.Helper()
		b.until("the refusal", `document.querySelector(".problem").textContent.includes(`+quoted(text)+`)`)
		b.do(chromedp.Click("#evict-cancel"))
	}
	evict("Kitchen", "", "")
	problem("changes need the token of --admin-token-file")
	evict("Kitchen", "another-token-of-this", "")
	problem("changes need the token of --admin-token-file")
	if strings.Contains(h.ask("LOOKUP Kitchen"), "NOTOK") {
		t.Error("the room is gone though that was refused")
	}
	evict("Kitchen", houseToken, "10m")
	b.until("the room to go", "!"+row("Kitchen")+` && !document.querySelector("#evict").open`)
	if reply := h.ask("@ttl=60 REGISTER room://127.0.0.1:20099 Kitchen"); !strings.Contains(reply, "NOTOK") {
		t.Errorf("the name is not held: %s", reply)
	}
	b.until("its history", `document.querySelector("#detail").textContent.includes("held") && document.querySelector("#detail").textContent.includes("evicted")`)
	b.sound(h, "Failed to load resource: the server responded with a status of 401")
}

// Ten thousand rooms take no more of the page than a few.
func TestPageOfManyRooms(t *testing.T) {
	t.Parallel()
	const rooms = 10_000
	h := newHouse(t)
	var dump strings.Builder
	for i := range rooms {
		fmt.Fprintf(&dump, `{"name":"Cell %05d","address":"room://127.0.0.1:%d","registered_at":"2026-01-31T20:15:04Z","ttl_seconds":0,"owner":"","exits":{"east":"Cell %05d"}}`+"\n", i, 30000+i, i+1)
	}
	dir, _ := bin()
	load := exec.Command(filepath.Join(dir, "registry"), "import", "-", "--store", h.args[2])
	load.Stdin, load.Env = strings.NewReader(dump.String()), ownEnvironment()
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.register("Foyer", 3600)
	b := newBrowser(t)
	b.do(emulation.SetDeviceMetricsOverride(1440, 900, 1, false), chromedp.Navigate("http://"+h.http+"/"))
	b.until("all of them", `document.querySelector("#count").textContent === "10,001"`)
	b.until("the first", row("Cell 00000"))
	if n := get[int](b, `document.querySelectorAll("*").length`); n > 2000 {
		t.Errorf("the page has %d elements", n)
	}
	b.do(chromedp.Focus("#grid"), chromedp.KeyEvent(kb.End))
	b.until("the last", row("Foyer")+" && "+row("Cell 09999"))
	b.do(chromedp.Evaluate(`window.frames_ = 0; (function next() { window.frames_++; requestAnimationFrame(next); })()`, nil))
	for i := range 300 {
		h.register(fmt.Sprintf("Newcomer %d", i), 3600)
	}
	b.until("those that came meanwhile", `document.querySelector("#count").textContent === "10,301"`)
	if n := get[int](b, "window.frames_"); n < 3 {
		t.Errorf("%d frames were drawn meanwhile", n)
	}
	b.do(slash(), chromedp.KeyEvent("cell 0777"))
	b.until("ten that were found", `document.querySelector("#found").textContent === "10 found"`)
	b.sound(h)
}

// The page can be used by everybody, as far as axe-core can tell: on a desktop and on a
// phone, dark and light. What was seen is kept in build/screenshots.
func TestPageForEverybody(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile("internal/e2e/testdata/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		testenv.NotRun(t, "needs axe-core: npm ci --prefix internal/e2e/testdata/axe")
	}
	shots := "build/screenshots"
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	h.furnish()
	b := newBrowser(t)
	b.do(page.SetBypassCSP(true)) // axe-core is not a part of the page
	check := func() (found []string) {
		b.do(chromedp.Evaluate(`axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) => v.id + ": " + v.help + " " + v.nodes.map((n) => n.target.join(" "))))`,
			&found, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
		return found
	}
	for _, scheme := range []string{"dark", "light"} {
		for device, size := range map[string][2]int64{"desktop": {1440, 900}, "phone": {390, 844}} {
			b.open(h, size[0], size[1], scheme)
			b.do(chromedp.Evaluate(string(axe), nil))
			look := func(what string) {
				t.Helper()
				for _, f := range check() {
					t.Errorf("%s, %s, %s: %s", device, scheme, what, f)
				}
				var shot []byte
				b.do(chromedp.CaptureScreenshot(&shot))
				if err := os.WriteFile(filepath.Join(shots, fmt.Sprintf("%s-%s-%s.png", device, scheme, what)), shot, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			look("rooms")
			if device == "phone" {
				b.do(chromedp.Click("#show-map"))
				look("map")
				b.do(chromedp.Click("#show-rooms"))
			}
			b.click(".row .name", "Cellar")
			b.until("its history", `document.querySelector("#detail .events")?.textContent.includes("registered")`)
			look("room")
			b.click("#detail .danger", "Evict")
			look("dialog")
		}
	}
	b.sound(h)

	// It would find something.
	b.do(chromedp.Click("#evict-cancel"), chromedp.Evaluate(`document.querySelector("#theme").removeAttribute("aria-label"); document.querySelector("#theme").removeAttribute("title")`, nil))
	if found := check(); len(found) != 1 || !strings.HasPrefix(found[0], "button-name") {
		t.Errorf("of a button without a name axe-core says %q", found)
	}
}
