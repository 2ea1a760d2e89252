package qrcode

import (
	"image"
	"image/color"
	"unicode/utf8"

	"github.com/makiuchi-d/gozxing"
	zxing "github.com/makiuchi-d/gozxing/qrcode"
)

// MaxText is the longest text of a code in bytes.
const MaxText = 512

// Read returns the text of the QR code in an image, or nothing if there is none
// that can be read, or its text is longer than [MaxText] or not UTF-8. What it takes
// grows with the pixels alone, whatever they show.
func Read(img image.Image) string {
	full := greyOf(img)
	// Fine codes need all pixels; what a camera or a lossy encoder has made noisy
	// is read from fewer.
	for _, shrink := range []int{1, 2, 4} {
		g := full.shrunk(shrink)
		if g.width < minCode || g.height < minCode {
			break
		}
		if text := g.read(); text != "" {
			return text
		}
	}
	return ""
}

// minCode is the side of the smallest QR code in pixels.
const minCode = 21

// grey is an image of one byte a pixel, by rows.
type grey struct {
	pixels        []byte
	width, height int
}

// greyOf puts an image on white.
func greyOf(img image.Image) grey {
	b := img.Bounds()
	g := grey{make([]byte, 0, b.Dx()*b.Dy()), b.Dx(), b.Dy()}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			g.pixels = append(g.pixels, greyAt(img, x, y))
		}
	}
	return g
}

func greyAt(img image.Image, x, y int) byte {
	if i, ok := img.(*image.YCbCr); ok { // what JPEG makes: its Y is the grey
		return i.Y[i.YOffset(x, y)]
	}
	var c color.RGBA64
	if i, ok := img.(image.RGBA64Image); ok {
		c = i.RGBA64At(x, y)
	} else {
		r, g, b, a := img.At(x, y).RGBA()
		c = color.RGBA64{R: uint16(r), G: uint16(g), B: uint16(b), A: uint16(a)} //nolint:gosec // RGBA returns 16 bits each
	}
	// Colours come multiplied by their alpha: white shines through for the rest.
	luma := (19595*uint32(c.R) + 38470*uint32(c.G) + 7471*uint32(c.B)) >> 16
	return byte(min(luma+0xffff-uint32(c.A), 0xffff) >> 8)
}

// shrunk returns the image with squares of n pixels a side made one.
func (g grey) shrunk(n int) grey {
	if n == 1 {
		return g
	}
	out := grey{width: g.width / n, height: g.height / n}
	out.pixels = make([]byte, 0, out.width*out.height)
	for y := range out.height {
		for x := range out.width {
			sum := 0
			for dy := range n {
				for _, p := range g.pixels[(y*n+dy)*g.width+x*n:][:n] {
					sum += int(p)
				}
			}
			out.pixels = append(out.pixels, byte(sum/(n*n))) //nolint:gosec // the average of bytes is one
		}
	}
	return out
}

// read returns the text of the QR code in the image, which is dark on light or,
// failing that, light on dark; and nothing if there is none.
func (g grey) read() string {
	source, err := gozxing.NewPlanarYUVLuminanceSource(g.pixels, g.width, g.height, 0, 0, g.width, g.height, false)
	if err != nil {
		return ""
	}
	for _, s := range []gozxing.LuminanceSource{source, source.Invert()} {
		for _, binarizer := range []gozxing.Binarizer{gozxing.NewHybridBinarizer(s), gozxing.NewGlobalHistgramBinarizer(s)} {
			if text := readCode(binarizer); text != "" && len(text) <= MaxText && utf8.ValidString(text) {
				return text
			}
		}
	}
	return ""
}

// maxCentres bounds how many spots of an image may look like the corner of a code:
// the reader tries all triples of them, which in an image full of corners would
// take it hours.
const maxCentres = 256

func readCode(binarizer gozxing.Binarizer) (text string) {
	// The reader was not made for images that somebody has built to break it; and it
	// can be stopped in no other way than by a panic in what it calls for each spot.
	defer func() {
		if recover() != nil { //nolint:forbidigo // it works on values of its own: nothing is left half done
			text = ""
		}
	}()
	bitmap, err := gozxing.NewBinaryBitmap(binarizer)
	if err != nil {
		return ""
	}
	centres := 0
	found, err := zxing.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{
		gozxing.DecodeHintType_TRY_HARDER: true,
		gozxing.DecodeHintType_NEED_RESULT_POINT_CALLBACK: gozxing.ResultPointCallback(func(gozxing.ResultPoint) {
			if centres++; centres > maxCentres {
				panic("qrcode: too many corners")
			}
		}),
	})
	if err != nil {
		return ""
	}
	return found.GetText()
}
