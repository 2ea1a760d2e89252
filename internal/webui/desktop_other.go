//go:build !linux

package webui

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
)

// desktop shows notifications through the system's scripting. The script goes in on
// standard input: arguments would be open to everybody on this computer.
type desktop struct{}

func (*desktop) notify(ctx context.Context, n Notice) error {
	var cmd *exec.Cmd
	switch runtime.GOOS {
	case "darwin":
		cmd = exec.CommandContext(ctx, "osascript", "-")
		cmd.Stdin = strings.NewReader(fmt.Sprintf("display notification %s with title %s\n",
			appleText(n.Text), appleText(n.Title)))
	case "windows":
		cmd = exec.CommandContext(ctx, "powershell", "-NoProfile", "-NonInteractive", "-Command", "-")
		cmd.Stdin = strings.NewReader(fmt.Sprintf(balloon, windowsText(n.Title), windowsText(n.Text)))
	default:
		return errors.ErrUnsupported
	}
	return cmd.Run()
}

// appleText writes a text of one line as AppleScript does.
func appleText(s string) string { return `"` + appleQuote.Replace(s) + `"` }

var appleQuote = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// windowsText writes a text so that nothing in it can end it.
func windowsText(s string) string {
	return "[Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('" +
		base64.StdEncoding.EncodeToString([]byte(s)) + "'))"
}

const balloon = `Add-Type -AssemblyName System.Windows.Forms
$n = New-Object System.Windows.Forms.NotifyIcon
$n.Icon = [System.Drawing.SystemIcons]::Information
$n.Visible = $true
$n.ShowBalloonTip(5000, %s, %s, 'None')
Start-Sleep -Seconds 6
$n.Dispose()
`
