package tests_test

import (
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestDependencies(t *testing.T) {
	files, err := readRepository("..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range judgeDependencies(files, string(page)) {
		t.Error(v)
	}
}

var moduleRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// judgeDependencies gives a sentence for each import that the page does not tell of, and
// for each module on the page that nothing imports. Tests count.
func judgeDependencies(files []source, page string) []string {
	used := map[string]bool{}
	for _, m := range moduleRow.FindAllStringSubmatch(page, -1) {
		used[m[1]] = false
	}
	var out []string
	for _, f := range files {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, f.path, f.text, parser.ImportsOnly)
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			first, _, _ := strings.Cut(imported, "/")
			if !strings.Contains(first, ".") || imported == module || strings.HasPrefix(imported, module+"/") {
				continue
			}
			known := false
			for m := range used {
				if fits(m+"/...", imported) {
					used[m], known = true, true
				}
			}
			if !known {
				out = append(out, set.Position(spec.Pos()).String()+": docs/dependencies.md does not say why "+imported+" is needed")
			}
		}
	}
	for m, is := range used {
		if !is {
			out = append(out, "docs/dependencies.md: nothing imports "+m+" any more")
		}
	}
	slices.Sort(out)
	return out
}

func TestDependencyRules(t *testing.T) {
	files := []source{
		{"a.go", []byte("package a\nimport (\n\"os\"\n\"example.com/one/sub\"\n\"" + module + "/messages\"\n)\n")},
		{"a_test.go", []byte("package a\nimport _ \"example.com/two\"\n")},
	}
	for _, tt := range []struct {
		page string
		want []string
	}{
		{"| `example.com/one` | x |\n| `example.com/two` | y |\n", nil},
		{"| `example.com/one` | x |\n", []string{"a_test.go:2:8: docs/dependencies.md does not say why example.com/two is needed"}},
		{"| `example.com/on` | x |\n| `example.com/two` | y |\n", []string{
			"a.go:4:1: docs/dependencies.md does not say why example.com/one/sub is needed",
			"docs/dependencies.md: nothing imports example.com/on any more",
		}},
	} {
		if got := judgeDependencies(files, tt.page); !slices.Equal(got, tt.want) {
			t.Errorf("with the page\n%sgot  %q\nwant %q", tt.page, got, tt.want)
		}
	}
}
