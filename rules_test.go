package foyer_test

// The rules of the repository as tests.

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport says what each package may import besides the standard library:
// packages of this module by their path in it, and other modules. Tests may
// import more.
var mayImport = map[string][]string{
	".":              {"golang.org/x/text"},
	"wire":           {"."},
	"storage":        {"."},
	"storage/engine": {"storage", "."},
	"storage/bolt":   {"storage/engine", "storage", "go.etcd.io/bbolt", "golang.org/x/sys"},
	"storage/etcd": {"storage/engine", "storage", "go.etcd.io/etcd/api", "go.etcd.io/etcd/client", "go.uber.org/zap", "google.golang.org/grpc",
		"github.com/google/uuid"},
	"storage/storetest": {"storage/engine", "storage", ".", "internal/testenv"},
	"admin":             {"discovery", "storage", ".", "internal/udp", "github.com/prometheus/client_golang"},
	"discovery":         {".", "wire", "storage", "internal/udp", "golang.org/x/time"},
	"dns":               {".", "storage", "internal/udp", "golang.org/x/net"},
	"client":            {".", "wire", "internal/exchange", "internal/private", "internal/seam", "internal/udp", "github.com/google/uuid"},
	"player":            {"client", ".", "wire", "internal/exchange", "internal/seam", "internal/udp", "github.com/google/uuid"},
	"world":             {".", "wire"},
	"room":              {"world", ".", "wire", "internal/udp"},

	"registry": {"admin", "discovery", "dns", "storage", "storage/bolt", "client", "wire", ".", "internal/command", "internal/dnssd", "internal/udp", "internal/load",
		"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/sys", "golang.org/x/term"},
	"roomd": {"room", "world", "client", ".", "internal/command", "internal/private",
		"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/sys", "golang.org/x/term"},
	"playerctl": {"player", "client", "wire", ".", "internal/command", "github.com/spf13/cobra", "golang.org/x/term"},

	"internal/etcdtest":        {},
	"internal/etcdtest/server": {"go.etcd.io/etcd"},

	"internal/exchange":  {"github.com/google/uuid"},
	"internal/command":   {"client", ".", "internal/dnssd", "internal/exchange", "github.com/coreos/go-systemd", "github.com/spf13/cobra", "github.com/spf13/pflag"},
	"internal/dnssd":     {"golang.org/x/net", "golang.org/x/time"},
	"internal/udp":       {"golang.org/x/sys"},
	"internal/udptest":   {"wire"},
	"internal/testenv":   {},
	"internal/private":   {},
	"internal/seam":      {"internal/udp"},
	"internal/namespace": {"internal/testenv", "golang.org/x/sys"},
	"internal/play":      {"client", ".", "internal/command"},
	"internal/load":      {"wire", ".", "internal/udp", "github.com/HdrHistogram/hdrhistogram-go", "golang.org/x/sys"},
	"internal/simulation": {"discovery", "client", "storage", "storage/storetest", "wire", ".", "internal/udp", "internal/udptest",
		"github.com/anishathalye/porcupine"},
	"internal/workbench": {"golang.org/x/sys"},
	"internal/e2e":       {},
	"internal/dist":      {},
	"bench":              {"internal/workbench", "internal/load", ".", "go.etcd.io/bbolt"},

	"bench/peers":                  {"internal/workbench", "internal/load", "github.com/HdrHistogram/hdrhistogram-go", "golang.org/x/sys"},
	"bench/peers/modules/coredns":  {"github.com/coredns/coredns"},
	"bench/peers/modules/etcdload": {"go.etcd.io/etcd"},
}

// A file longer than this, in lines, holds more than one idea.
const (
	mostLines     = 500
	mostTestLines = 800
)

// A source is one Go file of the repository.
type source struct {
	path string // from the root, with slashes
	pkg  string // the path of its package in the module, "." for the root
	test bool
	text []byte
	file *ast.File
	fset *token.FileSet
}

func (s *source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// sources parses every Go file, for all systems.
func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		p = filepath.ToSlash(p)
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"bin", "build", "testdata"}, d.Name())) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(p) != ".go" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, &source{p, path.Dir(p), strings.HasSuffix(p, "_test.go"), text, file, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		allowed, known := mayImport[s.pkg]
		if !known {
			t.Errorf("%s: the package %s has no line in mayImport", s.path, s.pkg)
			continue
		}
		for _, spec := range s.file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			own := strings.TrimPrefix(imported, "foyer/")
			if imported == "foyer" {
				own = "."
			}
			switch first, _, _ := strings.Cut(imported, "/"); {
			case imported != own: // of this module
				if !slices.Contains(allowed, own) {
					t.Errorf("%s: %s must not import %s", s.at(spec), s.pkg, own)
				}
			case strings.Contains(first, "."): // of another module
				if !slices.ContainsFunc(allowed, func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") }) {
					t.Errorf("%s: %s must not import %s", s.at(spec), s.pkg, imported)
				}
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	documented := map[string]string{} // package: the file with its comment
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if _, seen := documented[s.pkg]; !seen {
			documented[s.pkg] = ""
		}
		if s.file.Doc == nil {
			continue
		}
		begin := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			begin = "Command " + path.Base(s.pkg) + " "
		}
		switch text := s.file.Doc.Text(); {
		case !strings.HasPrefix(text, begin):
			t.Errorf("%s: the package's comment does not begin with %q", s.path, begin)
		case documented[s.pkg] != "":
			t.Errorf("%s: %s has the package's comment already", s.path, documented[s.pkg])
		default:
			documented[s.pkg] = s.path
		}
	}
	for pkg, where := range documented {
		if where == "" {
			t.Errorf("package %s has no comment", pkg)
		}
	}
}

// Every exported name has a comment.
func TestExportedNames(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && !obvious(d) {
					t.Errorf("%s: %s has no comment", s.at(d), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if name := undocumented(d, spec); name != "" {
						t.Errorf("%s: %s has no comment", s.at(spec), name)
					}
				}
			}
		}
	}
}

// obvious reports whether f needs no comment, because it implements a
// well-known interface or is not visible outside.
func obvious(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return false
	}
	if slices.Contains([]string{"Error", "String", "Unwrap", "Is", "Len", "Less", "Swap", "Push", "Pop"}, f.Name.Name) {
		return true
	}
	receiver := f.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.StarExpr:
			receiver = r.X
		case *ast.IndexExpr:
			receiver = r.X
		case *ast.IndexListExpr:
			receiver = r.X
		case *ast.Ident:
			return !r.IsExported()
		default:
			return false
		}
	}
}

// undocumented returns the exported name in spec that has no comment: none of
// its own, none after it, none on its group.
func undocumented(d *ast.GenDecl, spec ast.Spec) string {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
			return s.Name.Name
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
				return name.Name
			}
		}
	}
	return ""
}

// calls visits each call with a selector, such as "time.Sleep".
func calls(s *source, visit func(call *ast.CallExpr, of, name string)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
				of, _ := sel.X.(*ast.Ident)
				if of == nil {
					of = &ast.Ident{}
				}
				visit(call, of.Name, sel.Sel.Name)
			}
		}
		return true
	})
}

func TestHabits(t *testing.T) {
	all := sources(t)
	bubbles := map[string]bool{} // packages whose tests use fake time
	for _, s := range all {
		if s.test && strings.Contains(string(s.text), `"testing/synctest"`) {
			bubbles[s.pkg] = true
		}
	}
	for _, s := range all {
		most := mostLines
		if s.test {
			most = mostTestLines
		}
		if lines := strings.Count(string(s.text), "\n"); lines > most {
			t.Errorf("%s has %d lines, more than %d", s.path, lines, most)
		}
		calls(s, func(call *ast.CallExpr, of, name string) {
			switch {
			case s.test && of == "time" && name == "Sleep" && !bubbles[s.pkg]:
				t.Errorf("%s: a test that sleeps: use testing/synctest, or wait for the event", s.at(call))
			case s.pkg != "internal/testenv" && (name == "Skip" || name == "Skipf" || name == "SkipNow"):
				t.Errorf("%s: a test that skips: use testenv.NotRun", s.at(call))
			case !s.test && of == "os" && name == "Exit" && path.Base(s.path) != "main.go",
				!s.test && of == "signal" && s.file.Name.Name != "main":
				t.Errorf("%s: %s.%s is for main", s.at(call), of, name)
			}
		})
	}
}

// Each direct dependency has a line that says what it is for.
func TestDirectDependencies(t *testing.T) {
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(gomod)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) == 2 && strings.HasPrefix(fields[1], "v") && !strings.Contains(string(page), "`"+fields[0]+"`") {
			t.Errorf("docs/dependencies.md has no line about %s", fields[0])
		}
	}
}
