package webui_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
	"github.com/chate2e/chate2e/internal/webui"
	"github.com/chate2e/chate2e/internal/webui/qrcode/qrcodetest"
)

func asPNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func asJPEG(t testing.TB, img image.Image, quality int) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (p *page) scan(kind string, data []byte) string {
	p.t.Helper()
	status, text := p.send(http.MethodPost, "app/scan", kind, bytes.NewReader(data))
	if status != http.StatusOK {
		p.t.Fatalf("%d %s", status, text)
	}
	var out struct{ Text string }
	if err := json.Unmarshal(text, &out); err != nil {
		p.t.Fatal(err)
	}
	return out.Text
}

// Codes are read from the files that the page sends, whether or not a profile is
// open.
func TestScan(t *testing.T) {
	p := open(t, newApp(t, webui.Config{}))
	for name, c := range map[string]struct {
		kind string
		data []byte
		want string
	}{
		"PNG":     {"image/png", asPNG(t, qrcodetest.Image(t, qrcodetest.Safety, 6)), qrcodetest.Safety},
		"JPEG":    {"image/jpeg", asJPEG(t, qrcodetest.Image(t, qrcodetest.Link, 5), 80), qrcodetest.Link},
		"no code": {"image/png", asPNG(t, image.NewNRGBA(image.Rect(0, 0, 300, 300))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := p.scan(c.kind, c.data); got != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

// chunk is a chunk of a PNG.
func chunk(kind string, data []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	out = append(append(out, kind...), data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

// builtPNG is a PNG that claims dimensions and holds so many zero bytes.
func builtPNG(t *testing.T, width, height uint32, zeros int64) []byte {
	t.Helper()
	header := binary.BigEndian.AppendUint32(nil, width)
	header = append(binary.BigEndian.AppendUint32(header, height), 8, 6, 0, 0, 0) // 8 bits, RGBA
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := io.CopyN(z, zeroes{}, zeros); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	out := append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", header)...)
	return append(append(out, chunk("IDAT", packed.Bytes())...), chunk("IEND", nil)...)
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// What is no image, or a hostile one, is refused for what it is, and costs little
// memory.
func TestScanRefuses(t *testing.T) {
	app := newApp(t, webui.Config{})
	handler := app.Handler(testHost)
	key := session(t, handler, app)
	send := func(method, key, kind string, in io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, "/api/v1/app/scan", in)
		r.Host = testHost
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	good := asPNG(t, qrcodetest.Image(t, qrcodetest.Safety, 4))
	damaged := bytes.Clone(good)
	damaged[len(damaged)/2] ^= 1
	photo := asJPEG(t, qrcodetest.Image(t, qrcodetest.Safety, 4), 80)
	var moving bytes.Buffer
	if err := gif.Encode(&moving, qrcodetest.Image(t, qrcodetest.Link, 2), nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		kind   string
		data   []byte
		status int
		code   client.Code
	}{
		"nothing":                {"image/png", nil, http.StatusBadRequest, client.CodeUsage},
		"text":                   {"image/png", []byte(qrcodetest.Safety), http.StatusBadRequest, client.CodeUsage},
		"damaged":                {"image/png", damaged, http.StatusBadRequest, client.CodeUsage},
		"half":                   {"image/png", good[:len(good)/2], http.StatusBadRequest, client.CodeUsage},
		"half a photo":           {"image/jpeg", photo[:len(photo)/3], http.StatusBadRequest, client.CodeUsage},
		"the other kind":         {"image/jpeg", good, http.StatusBadRequest, client.CodeUsage},
		"GIF":                    {"image/gif", moving.Bytes(), http.StatusBadRequest, client.CodeUsage},
		"GIF as PNG":             {"image/png", moving.Bytes(), http.StatusBadRequest, client.CodeUsage},
		"SVG":                    {"image/svg+xml", []byte("<svg/>"), http.StatusBadRequest, client.CodeUsage},
		"JSON":                   {"application/json", []byte(`{"text":"x"}`), http.StatusBadRequest, client.CodeUsage},
		"no kind":                {"", good, http.StatusBadRequest, client.CodeUsage},
		"too wide":               {"image/png", builtPNG(t, 2049, 1, 4*2049+1), http.StatusRequestEntityTooLarge, client.CodeTooLarge},
		"4 billion pixels":       {"image/png", builtPNG(t, 65535, 65535, 1000), http.StatusRequestEntityTooLarge, client.CodeTooLarge},
		"no pixels":              {"image/png", builtPNG(t, 0, 0, 1), http.StatusBadRequest, client.CodeUsage},
		"a bomb":                 {"image/png", builtPNG(t, 8, 8, 100<<20), http.StatusBadRequest, client.CodeUsage},
		"too many bytes":         {"image/png", append(bytes.Clone(good), make([]byte, 8<<20)...), http.StatusRequestEntityTooLarge, client.CodeTooLarge},
		"a photo of many pixels": {"image/jpeg", asJPEG(t, image.NewGray(image.Rect(0, 0, 2049, 8)), 50), http.StatusRequestEntityTooLarge, client.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			for _, sized := range []bool{true, false} {
				in := io.Reader(bytes.NewReader(c.data))
				if !sized {
					in = io.MultiReader(in) // of unknown length
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				w := send(http.MethodPost, key, c.kind, in)
				runtime.ReadMemStats(&after)
				var failure localapi.Failure
				if err := json.Unmarshal(w.Body.Bytes(), &failure); err != nil || w.Code != c.status || failure.Error.Code != c.code {
					t.Errorf("sized %v: %d %s", sized, w.Code, w.Body)
				}
				if spent := after.TotalAlloc - before.TotalAlloc; spent > 64<<20 {
					t.Errorf("sized %v: %d bytes were allocated", sized, spent)
				}
			}
		})
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		if w := send(method, key, "image/png", bytes.NewReader(good)); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	for _, wrong := range []string{"", strings.Repeat("A", len(key)), key[1:]} {
		if w := send(http.MethodPost, wrong, "image/png", bytes.NewReader(good)); w.Code != http.StatusUnauthorized {
			t.Errorf("key of %d characters: %d", len(wrong), w.Code)
		}
	}
	// Nothing of all this lasts.
	if w := send(http.MethodPost, key, "image/png", bytes.NewReader(good)); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), qrcodetest.Safety) {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
}
