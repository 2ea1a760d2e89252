package webui

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Window says where on the screen a window opens; the zero value lets the browser
// decide.
type Window struct{ X, Y, Width, Height int }

// ErrNoBrowser is returned where no window can be opened.
var ErrNoBrowser = errors.New("no browser was found, or there is no display")

// launch opens a window on link: of a browser of the Chromium family without bars
// and with a profile of its own in the folder state, else of the default browser.
//
// The link holds a token, and anybody on this computer can read the arguments of a
// process, so the browser gets the name of a page in state, which only its user
// can read, and which goes to the link.
//
// The channel is closed when the program that was started has ended, which may be
// at once, for a browser that runs already takes over.
func launch(ctx context.Context, state, link string, at Window) (ended <-chan struct{}, err error) {
	if !HasDisplay() {
		return nil, ErrNoBrowser
	}
	page := filepath.Join(state, "launch.html")
	if err := replaceFile(page, launchPage(link)); err != nil {
		return nil, fmt.Errorf("writing the launch page: %w", err)
	}
	file := (&url.URL{Scheme: "file", Path: filepath.ToSlash(page)}).String()
	if runtime.GOOS == "windows" {
		file = (&url.URL{Scheme: "file", Path: "/" + filepath.ToSlash(page)}).String()
	}
	ctx = context.WithoutCancel(ctx) // the browser is the user's, not the request's
	if program, ok := findChromium(); ok {
		cmd := exec.CommandContext(ctx, program, browserArguments(state, file, at)...) //nolint:gosec // a browser of the list below
		if err := cmd.Start(); err == nil {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = cmd.Wait() // however it ended, it has
			}()
			return done, nil
		}
	}
	program, arguments := defaultBrowser(file)
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, ErrNoBrowser
	}
	if err := exec.CommandContext(ctx, path, arguments...).Run(); err != nil { //nolint:gosec // one of the names below
		return nil, errors.Join(ErrNoBrowser, err)
	}
	done := make(chan struct{})
	close(done)
	return done, nil
}

func browserArguments(state, file string, at Window) []string {
	arguments := []string{
		"--app=" + file,
		"--user-data-dir=" + filepath.Join(state, "browser"),
		"--no-first-run", "--no-default-browser-check",
		"--disable-background-networking", "--disable-component-update", "--disable-sync",
	}
	if at.Width > 0 {
		arguments = append(arguments,
			fmt.Sprintf("--window-size=%d,%d", at.Width, at.Height), fmt.Sprintf("--window-position=%d,%d", at.X, at.Y))
	} else {
		arguments = append(arguments, "--window-size=1280,860")
	}
	return arguments
}

// launchPage is a page without scripts that goes to link.
func launchPage(link string) []byte {
	return []byte(`<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">` +
		`<meta http-equiv="refresh" content="0;url=` + html.EscapeString(link) + `"><title>ChatE2E</title>` + "\n")
}

// HasDisplay reports whether a window could be shown.
func HasDisplay() bool {
	switch runtime.GOOS {
	case "windows", "darwin":
		return true
	default:
		return os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != ""
	}
}

// findChromium returns an installed browser that can show a page as a window.
func findChromium() (string, bool) {
	var names []string
	switch runtime.GOOS {
	case "darwin":
		for _, app := range []string{"Google Chrome", "Chromium", "Microsoft Edge", "Brave Browser", "Vivaldi"} {
			names = append(names, "/Applications/"+app+".app/Contents/MacOS/"+app)
		}
	case "windows":
		for _, root := range []string{os.Getenv("ProgramFiles"), os.Getenv("ProgramFiles(x86)"), os.Getenv("LocalAppData")} {
			if root == "" {
				continue
			}
			for _, app := range []string{
				`Google\Chrome\Application\chrome.exe`, `Microsoft\Edge\Application\msedge.exe`,
				`Chromium\Application\chrome.exe`, `BraveSoftware\Brave-Browser\Application\brave.exe`,
			} {
				names = append(names, filepath.Join(root, app))
			}
		}
	default:
		names = strings.Fields("chromium chromium-browser google-chrome google-chrome-stable microsoft-edge " +
			"microsoft-edge-stable brave-browser vivaldi-stable")
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, true
		}
	}
	return "", false
}

func defaultBrowser(file string) (program string, arguments []string) {
	switch runtime.GOOS {
	case "darwin":
		return "open", []string{file}
	case "windows":
		return "rundll32", []string{"url.dll,FileProtocolHandler", file}
	default:
		return "xdg-open", []string{file}
	}
}
