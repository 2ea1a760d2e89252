package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// readmes are in English and Chinese; both tell the same story.
var readmes = []string{"README.md", "README-zh.md"}

// blocks returns the code blocks of a language.
func blocks(tb testing.TB, readme, language string) []string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", readme))
	if err != nil {
		tb.Fatal(err)
	}
	var all []string
	for _, part := range strings.Split(string(text), "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```")
		all = append(all, block+"\n")
	}
	if len(all) == 0 {
		tb.Fatalf("%s has no block of %s", readme, language)
	}
	return all
}

// typed is a command as a README shows it, with what it printed.
type typed struct{ line, printed string }

func transcript(tb testing.TB, readme string) []typed {
	tb.Helper()
	var all []typed
	for line := range strings.Lines(strings.Join(blocks(tb, readme, "console"), "")) {
		switch command, is := strings.CutPrefix(line, "$ "); {
		case is:
			all = append(all, typed{line: strings.TrimSpace(command)})
		case regexp.MustCompile(`^(New p|P)assword(, again)?:`).MatchString(line): // not asked of a test
		default:
			all[len(all)-1].printed += line
		}
	}
	return all
}

// words splits a command as a shell does, as far as a README needs it.
func words(line string) []string {
	var all []string
	for _, match := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		all = append(all, match[1]+match[2])
	}
	return all
}

var (
	userID = regexp.MustCompile(`[a-z2-7]{32}`)
	number = regexp.MustCompile(`\d{60}`)
)

// same takes out of an output what differs from run to run.
func same(text string) string {
	for _, r := range []struct{ pattern, is string }{
		{`invite=[\w-]+`, "invite=INVITE"},
		{`([a-z2-7]{4} ){7}[a-z2-7]{4}`, "USER ID"},
		{`[a-z2-7]{32}`, "ID"},
		{`[a-z2-7]{4} [a-z2-7]{4} …`, "SHORT"},
		{`\d{4}-\d{2}-\d{2} \d{2}:\d{2}`, "TIME"},
		{`127\.0\.0\.1:\d+`, "RELAY"},
		{`(\d{5} ){3}\d{5}`, "DIGITS"},
		{`\S*/(profiles/\w+/socket)`, "$1"},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.is)
	}
	return strings.TrimSpace(text)
}

// What the READMEs show is what happens: their commands run one after the other,
// and print the same but for keys, times and places.
func TestReadme(t *testing.T) {
	t.Parallel()
	for _, readme := range readmes {
		t.Run(readme, func(t *testing.T) {
			t.Parallel()
			server := startServer(t)
			home := t.TempDir()
			people := map[string]*user{}
			for _, name := range []string{"alice", "bob"} {
				people[name] = newUser(t, home, name, server.url(), name+"'s password")
			}
			for _, command := range transcript(t, readme) {
				args := words(command.line)
				var got string
				switch {
				case args[0] == "chate2e-server" && len(args) == 1:
					got = server.log.String()
				case args[0] == "chate2e" && args[1] == "--profile" && people[args[2]] != nil:
					u := people[args[2]]
					args = args[3:]
					for i, arg := range args {
						switch {
						case userID.MatchString(arg):
							args[i] = people["bob"].one("whoami").str("user_id")
						case number.MatchString(arg):
							args[i] = people["bob"].one("safety", "alice").str("number")
						}
					}
					if args[0] == "daemon" {
						got = u.start("daemon").line(t)
						break
					}
					r := u.run("", args...)
					if r.code != 0 {
						t.Fatalf("%s: exit %d: %s", command.line, r.code, r.errs)
					}
					got = r.errs + r.out
				default:
					t.Fatalf("%s shows %q, which nobody can run", readme, command.line)
				}
				if prints, shows := same(got), same(command.printed); prints != shows {
					t.Errorf("%s prints\n%s\nand %s shows\n%s", command.line, prints, readme, shows)
				}
			}
		})
	}
}

// The library's example in the READMEs is a part of the one that is compiled.
func TestReadmeExample(t *testing.T) {
	example, err := os.ReadFile(filepath.Join("..", "..", "signal", "session", "example_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, readme := range readmes {
		for _, block := range blocks(t, readme, "go") {
			var indented strings.Builder
			for line := range strings.Lines(block) {
				if line != "\n" {
					indented.WriteByte('\t')
				}
				indented.WriteString(line)
			}
			if !strings.Contains(string(example), indented.String()) {
				t.Errorf("%s shows what signal/session/example_test.go does not have:\n%s", readme, block)
			}
		}
	}
}

// What the READMEs link to is there.
func TestReadmeLinks(t *testing.T) {
	for _, readme := range readmes {
		text, err := os.ReadFile(filepath.Join("..", "..", readme))
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(link[1]))); err != nil {
				t.Errorf("%s: %v", readme, err)
			}
		}
	}
}
