package bus_test

import (
	"testing"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/bus/bustest"
)

func TestLocal(t *testing.T) {
	bustest.Run(t, func(*testing.T) []bus.Bus {
		b := bus.NewLocal()
		return []bus.Bus{b, b}
	})
}
