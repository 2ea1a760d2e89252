// Package qrcode reads the QR code in an image: what a camera has taken, or a
// picture of a screen. [Read] does not trust the image; decoding a file into one,
// and bounding its size, is up to the caller.
package qrcode
