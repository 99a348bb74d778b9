package e2e

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"foyer/internal/testenv"
)

// deployed returns the text of the files in deploy that people install.
func deployed(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"deploy/Dockerfile", "deploy/*.yaml", "deploy/systemd/*", "deploy/debian/*.default"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %q, %v", pattern, paths, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[path] = string(text)
		}
	}
	return files
}

// commandLines returns the runs of Foyer's programs in the text of a unit, a
// Dockerfile or a compose file.
func commandLines(text string) (all [][]string) {
	for _, m := range regexp.MustCompile(`(?m)^ExecStart=/usr/bin/(.*)$`).FindAllStringSubmatch(text, -1) {
		all = append(all, strings.Fields(m[1]))
	}
	word := regexp.MustCompile(`"[^"]*"|[^\s,"]+`)
	for _, m := range regexp.MustCompile(`\[(?:CMD, )?"?/usr/bin/(\w+)"?(.*?)\]`).FindAllStringSubmatch(text, -1) {
		line := []string{m[1]}
		for _, w := range word.FindAllString(m[2], -1) {
			line = append(line, strings.Trim(w, `"`))
		}
		all = append(all, line)
	}
	return all
}

// What units, images and compose files run, the programs understand: with --help
// they check the flags and their values first.
func TestDeployedCommands(t *testing.T) {
	dir, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for path, text := range deployed(t) {
		for _, line := range commandLines(text) {
			args := slices.Clone(line[1:])
			end := len(args)
			if i := slices.Index(args, "--"); i >= 0 {
				end = i
			}
			c := exec.Command(filepath.Join(dir, line[0]), slices.Insert(args, end, "--help")...)
			c.Env = ownEnvironment()
			out, err := c.CombinedOutput()
			name := line[0]
			if name == "registry" {
				name += " " + line[1]
			}
			understood := err == nil && strings.Contains(string(out), "Usage:\n  "+name)
			if !understood {
				t.Errorf("%s runs %q: %v\n%s", path, line, err, out)
			}
			seen[line[0]]++
		}
	}
	if seen["registry"] != 6 || seen["roomd"] != 4 || seen["playerctl"] != 1 {
		t.Errorf("found %v runs of the programs", seen)
	}
}

// Each variable that the files set, or show in a comment, is that of a flag.
func TestDeployedVariables(t *testing.T) {
	dir, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	var help strings.Builder
	for _, args := range [][]string{{"registry", "serve"}, {"registry", "lookup"}, {"roomd"}, {"playerctl"}} {
		out, err := exec.Command(filepath.Join(dir, args[0]), append(args[1:], "--help")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		help.Write(out)
	}
	variable := regexp.MustCompile(`FOYER_[A-Z_]*[A-Z]`)
	seen := map[string]bool{}
	for path, text := range deployed(t) {
		for _, v := range variable.FindAllString(text, -1) {
			exists := strings.Contains(help.String(), "[$"+v+"]")
			if !exists {
				t.Errorf("%s names %s, which no program has", path, v)
			}
			seen[v] = true
		}
	}
	if len(seen) < 10 {
		t.Errorf("found only %v", seen)
	}
}

// The units are valid, and leave their services little to do harm with.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		testenv.NotRun(t, "%v", err)
	}
	dir, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	for source, name := range map[string]string{
		"deploy/systemd/foyer-registry.service": "foyer-registry.service", "deploy/systemd/foyer-room@.service": "foyer-room@hall.service",
	} {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		unit := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/bin/", dir+"/")), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("systemd-analyze", "--man=no", "verify", unit).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", source, err, out)
		}
		// An exposure of 2.0.
		if out, err := exec.Command("systemd-analyze", "--no-pager", "--offline=true", "--threshold=20", "security", unit).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", source, err, out)
		}
	}
}

// Prometheus accepts the alerts, and each fires when it should.
func TestAlerts(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		testenv.NotRun(t, "%v", err)
	}
	for _, args := range [][]string{{"check", "rules", "deploy/prometheus/foyer.rules.yml"}, {"test", "rules", "deploy/prometheus/foyer.rules.test.yml"}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args, err, out)
		}
	}
	rules, err := os.ReadFile("deploy/prometheus/foyer.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("deploy/prometheus/foyer.rules.test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(rules, -1) {
		if !regexp.MustCompile(`alertname: ` + string(m[1]) + `\n +exp_alerts:\n`).Match(tests) {
			t.Errorf("no test in which %s fires", m[1])
		}
	}
}

// explainedMetrics are those in the table of docs/operations.md.
func explainedMetrics(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(foyer_[a-z_]+)").FindAllSubmatch(page, -1) {
		explained[string(m[1])] = true
	}
	return explained
}

// What a registry tells Prometheus is what docs/operations.md explains.
func TestMetricsAreThose(t *testing.T) {
	h := &house{t: t, args: []string{"serve", "--store", filepath.Join(t.TempDir(), "rooms.db"), "--backup-dir", t.TempDir(), "--log-level", "error",
		"--dns", "127.0.0.1:0", "--domain", "rooms.example"}}
	h.start("127.0.0.1:0", "127.0.0.1:0")
	defer h.kill()
	var page []byte
	for range 2 { // requests are counted after they were answered
		r, err := http.Get("http://" + h.http + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		page, err = io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (foyer_[a-z_]+)`).FindAllSubmatch(page, -1) {
		told[string(m[1])] = true
	}
	explained := explainedMetrics(t)
	for name := range explained {
		if !told[name] {
			t.Errorf("docs/operations.md explains %s, which /metrics does not have", name)
		}
	}
	for name := range told {
		if !explained[name] {
			t.Errorf("docs/operations.md does not explain %s", name)
		}
	}
}

// Alerts and dashboard use only metrics that docs/operations.md explains.
func TestMetricsAreExplained(t *testing.T) {
	explained := explainedMetrics(t)
	used := map[string]string{}
	for _, path := range []string{"deploy/prometheus/foyer.rules.yml", "deploy/grafana/foyer.json"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bfoyer_[a-z_]+`).FindAllString(string(text), -1) {
			used[strings.TrimSuffix(name, "_bucket")] = path
		}
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if !explained[name] {
			t.Errorf("%s uses %s, which docs/operations.md does not explain", used[name], name)
		}
	}
	if len(used) < 20 || len(explained) < 20 {
		t.Errorf("%d metrics are used, and %d explained", len(used), len(explained))
	}
}

// Grafana can read the dashboard, and no panel covers another.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("deploy/grafana/foyer.json")
	if err != nil {
		t.Fatal(err)
	}
	type place struct{ X, Y, W, H int }
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos place
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids, cells := map[int]string{}, map[[2]int]string{}
	for _, p := range dashboard.Panels {
		if other, twice := ids[p.ID]; twice {
			t.Errorf("%q and %q have the same id", p.Title, other)
		}
		ids[p.ID] = p.Title
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, taken := cells[cell]; taken || cell[0] >= 24 {
					t.Fatalf("%q covers %q, or is outside", p.Title, other)
				}
				cells[cell] = p.Title
			}
		}
	}
	if len(ids) < 20 {
		t.Errorf("%d panels", len(ids))
	}
}
