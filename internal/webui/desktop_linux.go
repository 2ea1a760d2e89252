package webui

import (
	"context"
	"errors"
	"html"
	"sync"

	"github.com/godbus/dbus/v5"
)

// desktop shows notifications through the desktop's own service. The texts travel
// over the session bus: arguments of a helper program would be open to everybody
// on this computer.
type desktop struct {
	mu   sync.Mutex
	last uint32 // guarded by mu; the one to replace, so that there is only one
}

func (d *desktop) notify(ctx context.Context, n Notice) error {
	bus, err := dbus.SessionBusPrivateNoAutoStartup(dbus.WithContext(ctx))
	if err != nil {
		return err
	}
	defer func() { _ = bus.Close() }()
	if err := errors.Join(bus.Auth(nil), bus.Hello()); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	call := bus.Object("org.freedesktop.Notifications", "/org/freedesktop/Notifications").CallWithContext(
		ctx, "org.freedesktop.Notifications.Notify", 0,
		"ChatE2E", d.last, "", n.Title, html.EscapeString(n.Text), // the body may hold markup
		[]string{}, map[string]dbus.Variant{"category": dbus.MakeVariant("im.received")}, int32(-1))
	return call.Store(&d.last)
}
