// Package qrcodetest makes QR codes for tests to read.
package qrcodetest

import (
	"image"
	"image/color"
	"testing"

	"rsc.io/qr"
)

// Texts of codes as the window shows them.
const (
	Safety = "CHATE2E:SAFETY:BABCEIIKEAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYPSAISCBIQACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB6IA"
	Link   = "https://chat.example.org/add#abcdefghijklmnopqrstuvwxyz234567"
)

// Image draws a code with its margin, each module of scale pixels a side, and opaque.
func Image(tb testing.TB, text string, scale int) *image.NRGBA {
	tb.Helper()
	c, err := qr.Encode(text, qr.M)
	if err != nil {
		tb.Fatal(err)
	}
	side := (c.Size + 8) * scale
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			shade := uint8(255)
			if c.Black(x/scale-4, y/scale-4) {
				shade = 0
			}
			img.Set(x, y, color.NRGBA{shade, shade, shade, 255})
		}
	}
	return img
}
