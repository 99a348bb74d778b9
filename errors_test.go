package foyer_test

import (
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"foyer"
)

// Each code in the table of docs/protocol.md has a constant, a place in Codes
// and a sentinel named after the constant; and there are no others.
func TestErrorCodes(t *testing.T) {
	page, err := os.ReadFile("docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n### Error codes\n")
	table, _, _ = strings.Cut(table, "\n#")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]*)` \\|").FindAllStringSubmatch(table, -1) {
		documented = append(documented, row[1])
	}
	if len(documented) == 0 {
		t.Fatal("docs/protocol.md has no table of error codes")
	}

	constants := map[string]string{} // code: constant
	sentinels := map[string]string{} // constant: sentinel
	for _, s := range sources(t) {
		if s.path != "errors.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			switch v := spec.Values[0].(type) {
			case *ast.BasicLit:
				code, _ := strconv.Unquote(v.Value)
				constants[code] = spec.Names[0].Name
			case *ast.UnaryExpr:
				sentinels[v.X.(*ast.CompositeLit).Elts[0].(*ast.Ident).Name] = spec.Names[0].Name
			}
			return true
		})
	}
	for _, code := range documented {
		constant := constants[code]
		if constant == "" || sentinels[constant] != "Err"+constant {
			t.Errorf("%s: the constant is %q, the error to compare with %q", code, constant, sentinels[constant])
		}
		if !slices.Contains(foyer.Codes(), foyer.Code(code)) {
			t.Errorf("Codes lacks %s", code)
		}
	}
	if n := len(documented); len(constants) != n || len(sentinels) != n || len(foyer.Codes()) != n {
		t.Errorf("docs/protocol.md has %d codes, there are %d constants, %d errors and %d in Codes", n, len(constants), len(sentinels), len(foyer.Codes()))
	}
}
