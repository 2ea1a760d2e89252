package webui

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
	"github.com/chate2e/chate2e/internal/webui/qrcode"
)

// Bounds of an image to scan. The page makes larger ones smaller before it sends
// them, so that we never decode more than an image of these dimensions takes.
const (
	maxScan     = 8 << 20 // bytes
	maxScanSide = 2048    // pixels
)

// scanAnswer is what the QR code in an image says.
type scanAnswer struct {
	Text string `json:"text"` // empty: no code was found
}

// scan reads the QR code in an image. One image is decoded at a time, which bounds
// the memory that images take.
func (a *App) scan(w http.ResponseWriter, r *http.Request) {
	img, err := scanBody(w, r)
	if err != nil {
		localapi.Fail(w, err)
		return
	}
	select {
	case <-a.scanning:
		defer func() { a.scanning <- struct{}{} }()
	case <-r.Context().Done():
		return
	}
	decoded, err := img.decode(bytes.NewReader(img.data))
	if err != nil {
		localapi.Fail(w, noImage(err))
		return
	}
	localapi.Answer(w, scanAnswer{qrcode.Read(decoded)})
}

// encoded is an image that was not decoded yet, but whose dimensions are known to
// be within the bounds.
type encoded struct {
	data   []byte
	decode func(io.Reader) (image.Image, error)
}

// scanBody reads a request's image. It returns [client.CodeUsage] for what is no
// image of a kind that is read, and [client.CodeTooLarge].
func scanBody(w http.ResponseWriter, r *http.Request) (encoded, error) {
	var img encoded
	var config func(io.Reader) (image.Config, error)
	switch r.Header.Get("Content-Type") {
	case "image/png":
		img.decode, config = png.Decode, png.DecodeConfig
	case "image/jpeg":
		img.decode, config = jpeg.Decode, jpeg.DecodeConfig
	default:
		return encoded{}, &client.Error{Code: client.CodeUsage, Message: "an image to scan is image/png or image/jpeg"}
	}
	tooLarge := &client.Error{Code: client.CodeTooLarge, Message: "an image to scan has at most 8 MiB, and 2048 pixels a side"}
	if r.ContentLength > maxScan {
		return encoded{}, tooLarge
	}
	var err error
	if img.data, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxScan)); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return encoded{}, tooLarge
		}
		return encoded{}, &client.Error{Code: client.CodeUsage, Message: "the image did not arrive as a whole", Err: err}
	}
	size, err := config(bytes.NewReader(img.data))
	switch {
	case err != nil:
		return encoded{}, noImage(err)
	case size.Width > maxScanSide || size.Height > maxScanSide:
		return encoded{}, tooLarge
	}
	return img, nil
}

func noImage(cause error) error {
	return &client.Error{Code: client.CodeUsage, Message: "that is no image, or a damaged one", Err: cause}
}
