package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"foyer/internal/testenv"
)

// patience is how long a script waits for what must happen.
const patience = 20 * time.Second

// bin returns the folder of the programs, built once for all tests.
var bin = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "foyer-test-")
	if err != nil {
		return "", err
	}
	built = dir
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir+string(filepath.Separator), "./registry", "./roomd", "./playerctl")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return dir, nil
})

// built is the folder that bin has made, if a test has asked for it.
var built string

// The tests run in the root of the repository.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(status)
}

// TestScripts runs the real programs, over real UDP. Besides testscript's own
// commands a script has:
//
//	start NAME PROGRAM ARG...   run a program in the background, perhaps by nohup
//	expect NAME REGEXP [VAR]    wait until the program has written a match, to
//	                            standard output or error, behind the last one
//	                            expected; its first group goes into VAR
//	type NAME LINE              give it a line of input
//	eof NAME                    end its input
//	signal NAME TERM|INT|KILL|HUP
//	ends NAME STATUS            wait for its end; what it wrote is then in the
//	                            files NAME.out and NAME.err
//	registry [ARG...]           start registry serve on any port, database
//	                            rooms.db, as NAME registry; FOYER_DISCOVERY is
//	                            where it listens
//	talk ADDR FILE              exchange datagrams; see dialogue
func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// TestDig asks a registry over DNS with dig.
func TestDig(t *testing.T) {
	if _, err := exec.LookPath("dig"); err != nil {
		testenv.NotRun(t, "there is no dig: apt-get install bind9-dnsutils")
	}
	runScripts(t, "testdata/dns")
}

func runScripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			dir, err := bin()
			if err != nil {
				return err
			}
			env.Vars = append(env.Vars,
				"PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"),
				"XDG_STATE_HOME="+filepath.Join(env.WorkDir, "state"),
				"HOME="+env.WorkDir)
			all := &programs{map[string]*program{}, map[string]string{}}
			env.Values[programsKey{}] = all
			env.Defer(all.kill)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start":    startCommand,
			"expect":   expectCommand,
			"type":     typeCommand,
			"eof":      eofCommand,
			"signal":   signalCommand,
			"ends":     endsCommand,
			"registry": registryCommand,
			"talk":     talkCommand,
		},
		RequireUniqueNames: true,
		Deadline:           time.Now().Add(2 * time.Minute), // for a command that should fail and runs
	})
}

type programsKey struct{}

// programs are those that a script has started.
type programs struct {
	running map[string]*program
	values  map[string]string // recorded by dialogues
}

func (all *programs) kill() {
	for _, p := range all.running {
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// A program runs in the background.
type program struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed when err is set
	err   error

	mu        sync.Mutex
	wrote     chan struct{} // closed and replaced when something is written
	both      bytes.Buffer
	out, err2 bytes.Buffer
	seen      int // how much of both has been expected
}

// output is one of a program's streams.
type output struct {
	p   *program
	own *bytes.Buffer
}

func (o output) Write(b []byte) (int, error) {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	o.own.Write(b)
	o.p.both.Write(b)
	close(o.p.wrote)
	o.p.wrote = make(chan struct{})
	return len(b), nil
}

func find(ts *testscript.TestScript, name string) *program {
	p := ts.Value(programsKey{}).(*programs).running[name]
	if p == nil {
		ts.Fatalf("no program %s was started", name)
	}
	return p
}

// want checks how a command is used.
func want(ts *testscript.TestScript, neg bool, ok bool, usage string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func startCommand(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) >= 2, "start NAME PROGRAM ARG...")
	start(ts, args[0], args[1], args[2:]...)
}

func start(ts *testscript.TestScript, name, path string, args ...string) *program {
	dir, err := bin()
	ts.Check(err)
	all := ts.Value(programsKey{}).(*programs)
	if p := all.running[name]; p != nil {
		select {
		case <-p.ended:
		default:
			ts.Fatalf("%s is running already", name)
		}
	}
	if path == "nohup" {
		path, err = exec.LookPath(path)
		ts.Check(err)
	} else {
		path = filepath.Join(dir, path)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "TMPDIR=" + ts.Getenv("TMPDIR"),
		"XDG_STATE_HOME=" + ts.Getenv("XDG_STATE_HOME"), "FOYER_DISCOVERY=" + ts.Getenv("FOYER_DISCOVERY")}
	p, err := launch(cmd, cmd.Start)
	ts.Check(err)
	all.running[name] = p
	return p
}

// launch runs a command in the background; start is what starts it.
func launch(cmd *exec.Cmd, start func() error) (p *program, err error) {
	p = &program{cmd: cmd, ended: make(chan struct{}), wrote: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = output{p, &p.out}, output{p, &p.err2}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err = start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func expectCommand(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2 || len(args) == 3, "expect NAME REGEXP [VAR]")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	match := find(ts, args[0]).expect(ts, re)
	if len(args) == 3 {
		ts.Setenv(args[2], match)
	}
}

// expect waits for a match and returns its first group.
func (p *program) expect(ts interface{ Fatalf(string, ...any) }, re *regexp.Regexp) string {
	limit := time.After(patience)
	for {
		p.mu.Lock()
		unseen := p.both.Bytes()[p.seen:]
		m := re.FindSubmatchIndex(unseen)
		if m != nil {
			p.seen += m[1]
			group := ""
			if len(m) > 2 && m[2] >= 0 {
				group = string(unseen[m[2]:m[3]])
			}
			p.mu.Unlock()
			return group
		}
		text, wrote := string(unseen), p.wrote
		p.mu.Unlock()
		select {
		case <-wrote:
			continue
		case <-p.ended:
		case <-limit:
		}
		if p.mu.Lock(); p.wrote == wrote { // nothing more came with its end
			p.mu.Unlock()
			ts.Fatalf("no match of %s in:\n%s", re, text)
		}
		p.mu.Unlock()
	}
}

func typeCommand(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2, "type NAME LINE")
	_, err := io.WriteString(find(ts, args[0]).stdin, args[1]+"\n")
	ts.Check(err)
}

func eofCommand(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1, "eof NAME")
	ts.Check(find(ts, args[0]).stdin.Close())
}

func signalCommand(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP}
	want(ts, neg, len(args) == 2 && signals[args[1]] != nil, "signal NAME TERM|INT|KILL|HUP")
	ts.Check(find(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

func endsCommand(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2, "ends NAME STATUS")
	p := find(ts, args[0])
	select {
	case <-p.ended:
	case <-time.After(patience):
		ts.Fatalf("%s does not end; it wrote:\n%s", args[0], p.both.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".out"), p.out.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".err"), p.err2.Bytes(), 0o600))
	status := fmt.Sprint(p.cmd.ProcessState.ExitCode())
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok && exit.ExitCode() < 0 {
		status = "killed"
	}
	if status != args[1] {
		ts.Fatalf("%s ended with %s, not %s; it wrote:\n%s", args[0], status, args[1], p.both.String())
	}
}

var listening = regexp.MustCompile(`(?m)^registry: listening on (\S+)\n`)

func registryCommand(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, true, "registry [ARG...]")
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--http", "off", "--store", "rooms.db"}, args...)
	ts.Setenv("FOYER_DISCOVERY", start(ts, "registry", "registry", args...).expect(ts, listening))
}

func talkCommand(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2, "talk ADDR FILE")
	d := newDialogue(args[0], ts.Value(programsKey{}).(*programs).values)
	defer d.close()
	n := 0
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		n++
		if err := d.line(strings.TrimSuffix(line, "\n")); err != nil {
			ts.Fatalf("%s, line %s: %v", args[1], strconv.Itoa(n), err)
		}
	}
}
