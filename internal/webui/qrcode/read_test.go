package qrcode_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"rsc.io/qr"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/webui/qrcode"
	"github.com/chate2e/chate2e/internal/webui/qrcode/qrcodetest"
)

// mapped returns an image of the given size whose pixels come from elsewhere in img,
// or are white.
func mapped(img image.Image, width, height int, from func(x, y int) (float64, float64)) *image.NRGBA {
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			fx, fy := from(x, y)
			at := image.Pt(int(math.Floor(fx)), int(math.Floor(fy)))
			c := color.Color(color.White)
			if at.In(img.Bounds()) {
				c = img.At(at.X, at.Y)
			}
			out.Set(x, y, c)
		}
	}
	return out
}

// photo returns an image as a lossy encoder leaves it.
func photo(t testing.TB, img image.Image, quality int) image.Image {
	t.Helper()
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	decoded, err := jpeg.Decode(&out)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// Codes of ours are read as screens show them and as cameras see them.
func TestRead(t *testing.T) {
	plain := qrcodetest.Image(t, qrcodetest.Safety, 6)
	side := plain.Bounds().Dx()
	inverted := image.NewNRGBA(plain.Rect)
	black := image.NewNRGBA(plain.Rect) // black on nothing
	for i := 0; i < len(plain.Pix); i += 4 {
		shade := plain.Pix[i]
		copy(inverted.Pix[i:], []byte{255 - shade, 255 - shade, 255 - shade, 255})
		copy(black.Pix[i:], []byte{0, 0, 0, 255 - shade})
	}
	random := testrand.New(t)
	noisy := image.NewGray(image.Rect(0, 0, 640, 480))
	for y := range 480 {
		for x := range 640 {
			shade := 120
			if at := image.Pt(x-160, y-80); at.In(plain.Rect) {
				shade = 60 + int(plain.NRGBAAt(at.X, at.Y).R)/2
			}
			noisy.SetGray(x, y, color.Gray{Y: uint8(shade + random.IntN(41) - 20)})
		}
	}
	sin, cos := math.Sincos(0.3)
	turned := mapped(plain, 700, 700, func(x, y int) (float64, float64) {
		dx, dy := float64(x-350), float64(y-350)
		return cos*dx + sin*dy + float64(side)/2, cos*dy - sin*dx + float64(side)/2
	})
	sheared := mapped(plain, 800, 700, func(x, y int) (float64, float64) {
		far := 1 + float64(y)/2500 + float64(x)/4000
		return float64(x-60) * 0.8 * far, float64(y-60) * 0.7 * far
	})
	// Reading all triples of these corners would take hours.
	corners := image.NewGray(image.Rect(0, 0, 900, 900))
	for i := range corners.Pix {
		x, y := i%900%9-3, i/900%9-3
		if ring := max(x, -x, y, -y); ring == 2 || ring > 3 {
			corners.Pix[i] = 255
		}
	}
	for name, c := range map[string]struct {
		img  image.Image
		want string
	}{
		"as shown":         {plain, qrcodetest.Safety},
		"a link":           {qrcodetest.Image(t, qrcodetest.Link, 5), qrcodetest.Link},
		"small":            {qrcodetest.Image(t, qrcodetest.Safety, 2), qrcodetest.Safety},
		"large":            {qrcodetest.Image(t, qrcodetest.Safety, 38), qrcodetest.Safety},
		"light on dark":    {inverted, qrcodetest.Safety},
		"on nothing":       {black, qrcodetest.Safety},
		"JPEG":             {photo(t, plain, 90), qrcodetest.Safety},
		"poor JPEG":        {photo(t, plain, 20), qrcodetest.Safety},
		"grey and noisy":   {photo(t, noisy, 70), qrcodetest.Safety},
		"turned":           {turned, qrcodetest.Safety},
		"from the side":    {photo(t, sheared, 80), qrcodetest.Safety},
		"any text":         {qrcodetest.Image(t, "你好", 6), "你好"},
		"white":            {image.NewNRGBA(image.Rect(0, 0, 300, 300)), ""},
		"one pixel":        {image.NewNRGBA(image.Rect(0, 0, 1, 1)), ""},
		"no pixel":         {image.NewNRGBA(image.Rect(0, 0, 0, 0)), ""},
		"half a code":      {plain.SubImage(image.Rect(0, 0, side, side/2)), ""},
		"off the origin":   {plain.SubImage(image.Rect(12, 12, side, side)), qrcodetest.Safety},
		"full of corners":  {corners, ""},
		"as long as it is": {qrcodetest.Image(t, strings.Repeat("a", qrcode.MaxText), 6), strings.Repeat("a", qrcode.MaxText)},
		"longer":           {qrcodetest.Image(t, strings.Repeat("a", qrcode.MaxText+1), 6), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := qrcode.Read(c.img); got != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func check(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) || len(text) > qrcode.MaxText {
		t.Errorf("%q", text)
	}
}

// Whatever the pixels, reading them ends with a text that can be shown, or none.
func FuzzPixels(f *testing.F) {
	for _, text := range []string{"0123456789", "HTTPS://A"} {
		img := qrcodetest.Image(f, text, 2)
		pixels := make([]byte, 0, len(img.Pix)/4)
		for i := 0; i < len(img.Pix); i += 4 {
			pixels = append(pixels, img.Pix[i])
		}
		f.Add(pixels, uint8(img.Rect.Dx()))
	}
	f.Fuzz(func(t *testing.T, pixels []byte, width uint8) {
		if width == 0 || len(pixels) < int(width) || len(pixels) > 1<<13 {
			return
		}
		height := len(pixels) / int(width)
		check(t, qrcode.Read(&image.Gray{Pix: pixels, Stride: int(width), Rect: image.Rect(0, 0, int(width), height)}))
	})
}

// The same of what the squares of a code may say once it is found: data begins
// changing a code, and so gets behind the search for corners, as mere pixels
// seldom do.
func FuzzModules(f *testing.F) {
	for _, text := range []string{"0123456789", "HTTPS://A", qrcodetest.Link, "你好"} {
		f.Add(text, []byte{})
		f.Add(text, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, text string, flips []byte) {
		if len(text) > 80 {
			return
		}
		c, err := qr.Encode(text, qr.M)
		if err != nil {
			return
		}
		side := c.Size + 8
		img := image.NewGray(image.Rect(0, 0, side, side))
		for y := range side {
			for x := range side {
				dark, at := c.Black(x-4, y-4), (y-4)*c.Size+x-4
				if inside := x >= 4 && y >= 4 && x < side-4 && y < side-4; inside && at/8 < len(flips) {
					dark = dark != (flips[at/8]>>(at%8)&1 == 1)
				}
				if !dark {
					img.Pix[y*side+x] = 255
				}
			}
		}
		check(t, qrcode.Read(img))
	})
}
