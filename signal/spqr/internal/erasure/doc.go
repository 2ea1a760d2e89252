// Package erasure cuts a message into chunks of which any sufficiently many give
// it back: a systematic Reed-Solomon code over GF(2¹⁶).
//
// A message is read as big-endian 16-bit words. Word j is the value of polynomial
// j mod 16 at x = j/16; chunk x holds the values of the sixteen polynomials at x.
// The first chunks are thus the message itself, cut into pieces of 32 bytes, and
// every chunk after them is as good as any of these. There are 65,536 chunks; a
// message of N pieces is read from any N of them.
//
// The field is GF(2)[x]/(x¹⁶+x¹²+x³+x+1).
//
// Everything here is public: the messages travel in the clear inside their
// envelopes' headers, and who sends them authenticates them. Table look-ups and
// branches on the data are therefore of no concern.
package erasure
