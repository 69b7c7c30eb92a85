// Package tests_test judges the repository from outside: who imports whom, and what the
// assembled node does.
package tests_test

import (
	"fmt"
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

const module = "github.com/holdfast-run/holdfast"

// The tables below say who may import whom. A package is named by its folder, "." is the
// root, "x/..." is x and everything under it unless a package there has an entry of its own.
// Only what is built into programs is judged: _test.go files may import anything.

// mayImport says which of our packages a package may import. A new package is added here,
// with as little as it needs.
var mayImport = map[string][]string{
	".":                           nil,
	"messages":                    nil,
	"persistence":                 {".", "messages"},
	"persistence/...":             {".", "messages", "persistence"},
	"actors":                      {".", "messages", "persistence", "internal/crew"},
	"cluster":                     {".", "messages", "actors"},
	"gateway":                     {".", "messages", "persistence", "internal/serve"},
	"feed":                        {".", "messages", "persistence", "internal/follow", "internal/serve"},
	"projections":                 {".", "messages", "persistence"},
	"projections/...":             {".", "messages", "persistence", "projections", "internal/bucket"},
	"projections/runner":          {".", "messages", "persistence", "projections", "internal/follow", "internal/bucket"},
	"projections/index":           {".", "messages", "projections", "internal/serve"},
	"projections/desk":            {".", "messages", "persistence", "projections", "projections/runner", "internal/serve", "internal/bucket"},
	"sagas":                       {".", "messages", "persistence"},
	"sagas/runner":                {".", "messages", "persistence", "sagas", "sagas/timers", "internal/follow"},
	"sagas/timers":                {".", "messages"},
	"sagas/desk":                  {".", "messages", "persistence", "sagas", "internal/bucket", "internal/serve"},
	"holdfasttest":                {".", "messages", "persistence", "persistence/memory", "actors", "sagas", "projections"},
	"internal/natsd":              {"messages"},
	"internal/bucket":             nil,
	"internal/follow":             {"messages", "internal/bucket"},
	"internal/serve":              {".", "messages", "internal/crew"},
	"internal/crew":               nil,
	"internal/certtest":           nil,
	"internal/leaktest":           nil,
	"internal/polltest":           nil,
	"node/...":                    {".", "messages", "persistence/...", "actors", "cluster", "gateway", "feed", "projections/...", "sagas", "sagas/...", "internal/natsd", "internal/follow", "node/...", "internal/door", "inbox"},
	"bench":                       {".", "messages", "persistence", "persistence/jetstream", "actors", "cluster", "gateway", "node/cli", "internal/natsd", "internal/follow", "projections", "projections/memory", "projections/runner", "sagas", "sagas/...", "examples/bank/...", "bench/report"},
	"bench/report":                nil,
	"cmd/...":                     {"..."},
	"examples/...":                {"..."},
	"tests/...":                   {"..."},
	"internal/door":               {"messages"},
	"inbox":                       {".", "messages", "internal/bucket", "internal/follow", "internal/serve"},
	"projections/projectionstest": {".", "persistence", "projections"},
	"projections/sqlsink":         {".", "messages", "persistence", "projections"},
	"internal/pgtest":             nil,
}

// importedBy says which of our packages may import a module of others. A new dependency is
// added here and in docs/dependencies.md.
var importedBy = map[string][]string{
	"google.golang.org/protobuf":        {"..."},
	"github.com/asynkron/protoactor-go": {"actors", "cluster"},
	"google.golang.org/grpc":            {"cluster", "bench"},
	"github.com/nats-io/nats.go":        speakNATS,
	"github.com/nats-io/nuid":           speakNATS,
	"github.com/nats-io/nats-server/v2": {"internal/natsd"},
	"github.com/nats-io/nkeys":          {"internal/natsd"},
	"golang.org/x/crypto":               {"internal/natsd"},
	"github.com/spf13/cobra":            {"node/...", "cmd/...", "bench"},
	"github.com/spf13/pflag":            {"node/...", "cmd/..."},
	"github.com/schollz/progressbar/v3": {"node/...", "cmd/..."},
	"golang.org/x/term":                 {"node/...", "cmd/..."},
	"github.com/jackc/pgx/v5":           {"projections/sqlsink"},
	"modernc.org/sqlite":                {"projections/sqlsink"},
	"go.uber.org/goleak":                {"internal/leaktest"},
}

var speakNATS = []string{
	"persistence/jetstream", "gateway", "feed", "projections/...", "sagas/desk", "sagas/timers", "cluster", "node/...", "internal/natsd", "internal/bucket", "internal/follow", "internal/serve", "cmd/...", "internal/door", "inbox", "projections/desk", "projections/kvsink", "bench",
}

// reachOut are the packages of the standard library with which a program touches the
// world. The language of the domain and the contract do without.
var reachOut = []string{"net", "os", "syscall", "math/rand", "crypto/rand", "log", "database", "plugin"}

// maxLines is how long a file may be, unless a comment in its first lines says why it is
// longer, with the words "longer than 400 lines".
const maxLines = 400

func TestRepository(t *testing.T) {
	files, err := readRepository("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found only %d Go files", len(files))
	}
	for _, v := range judge(files) {
		t.Error(v)
	}
}

// A source is one Go file, by its path in the repository.
type source struct {
	path string
	text []byte
}

// readRepository reads the Go files of the module at root, whatever system they are for.
func readRepository(root string) ([]source, error) {
	var files []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != root && isForeign(p, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(p) != ".go" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		files = append(files, source{filepath.ToSlash(rel), text})
		return err
	})
	return files, err
}

// isForeign reports whether a folder is no part of the module.
func isForeign(p, name string) bool {
	if name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(p, "go.mod"))
	return err == nil
}

// judge gives a sentence for each rule that the files break.
func judge(files []source) []string {
	var out []string
	packages := map[string]*folder{}
	for _, f := range files {
		pkg, isTest := path.Dir(f.path), strings.HasSuffix(f.path, "_test.go")
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, f.path, f.text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		if packages[pkg] == nil {
			packages[pkg] = new(folder)
		}
		packages[pkg].add(file, isTest)
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if isTest {
				continue
			}
			if complaint := judgeImport(pkg, imported); complaint != "" {
				out = append(out, set.Position(spec.Pos()).String()+": "+complaint)
			}
		}
		if isTest {
			out = append(out, sleeps(set, file)...)
		}
		if n := strings.Count(string(f.text), "\n"); n > maxLines && !ast.IsGenerated(file) && !saysWhy(f.text) {
			out = append(out, fmt.Sprintf("%s: it has %d lines: divide it, or say at its top why it is longer than %d lines", f.path, n, maxLines))
		}
	}
	for pkg, folder := range packages {
		if _, known := find(mayImport, pkg); !known {
			out = append(out, fmt.Sprintf("%s: the package is unknown: say in mayImport (tests/imports_test.go) which of our packages it may import", pkg))
		}
		if !folder.documented() {
			out = append(out, fmt.Sprintf("%s: the package has no package comment", pkg))
		}
	}
	slices.Sort(out)
	return out
}

// A folder is what has been seen of a package: whether it has files, and a package
// comment in one, of people's code and of tests. Generated code takes its comments from
// elsewhere, and has none on its package.
type folder struct{ code, codeDoc, tests, testsDoc bool }

func (f *folder) add(file *ast.File, isTest bool) {
	has := file.Doc.Text() != ""
	switch {
	case isTest:
		f.tests, f.testsDoc = true, f.testsDoc || has
	case !ast.IsGenerated(file):
		f.code, f.codeDoc = true, f.codeDoc || has
	}
}

func (f *folder) documented() bool {
	if f.code {
		return f.codeDoc
	}
	return f.testsDoc || !f.tests
}

func judgeImport(pkg, imported string) string {
	if imported == module || strings.HasPrefix(imported, module+"/") {
		target := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
		if target == "" {
			target = "."
		}
		if allowed, known := find(mayImport, pkg); known && !matches(allowed, target) {
			return fmt.Sprintf("package %s may not import %s of ours (mayImport in tests/imports_test.go)", pkg, target)
		}
		return ""
	}
	if imported == "testing" || strings.HasPrefix(imported, "testing/") {
		if !strings.HasSuffix(path.Base(pkg), "test") {
			return fmt.Sprintf("package %s may not import %s: it belongs into _test.go files and packages called …test", pkg, imported)
		}
		return ""
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		if (pkg == "." || pkg == "messages") && matches(withChildren(reachOut), imported) {
			return fmt.Sprintf("package %s may not import %s: it does no I/O", pkg, imported)
		}
		return ""
	}
	allowed, known := find(withModules(importedBy), imported)
	if !known {
		return fmt.Sprintf("nobody may import %s yet: add its module to importedBy (tests/imports_test.go) and to docs/dependencies.md", imported)
	}
	if !matches(allowed, pkg) {
		return fmt.Sprintf("package %s may not import %s (importedBy in tests/imports_test.go)", pkg, imported)
	}
	return ""
}

func withChildren(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = p + "/..."
	}
	return out
}

func withModules(m map[string][]string) map[string][]string {
	out := map[string][]string{}
	for name, v := range m {
		out[name+"/..."] = v
	}
	return out
}

// find gives the entry of pkg itself, else of a name that takes it in.
func find(table map[string][]string, pkg string) ([]string, bool) {
	if entry, ok := table[pkg]; ok {
		return entry, true
	}
	for name, entry := range table {
		if fits(name, pkg) {
			return entry, true
		}
	}
	return nil, false
}

func matches(names []string, pkg string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return fits(name, pkg) })
}

func fits(name, pkg string) bool {
	if name == "..." || name == pkg {
		return true
	}
	prefix, ok := strings.CutSuffix(name, "/...")
	return ok && (pkg == prefix || strings.HasPrefix(pkg, prefix+"/"))
}

// sleeps gives a sentence for each use of time.Sleep: a test waits for a signal, or polls
// with a deadline.
func sleeps(set *token.FileSet, file *ast.File) []string {
	local := ""
	for _, spec := range file.Imports {
		if spec.Path.Value == `"time"` {
			if local = "time"; spec.Name != nil {
				local = spec.Name.Name
			}
		}
	}
	if local == "" {
		return nil
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Sleep" {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
			out = append(out, set.Position(n.Pos()).String()+": a test does not sleep: wait for a signal, or poll with a deadline")
		}
		return true
	})
	return out
}

func saysWhy(text []byte) bool {
	lines := strings.SplitN(string(text), "\n", 11)
	return strings.Contains(strings.Join(lines[:min(len(lines), 10)], "\n"), fmt.Sprintf("longer than %d lines", maxLines))
}
