// Package mlkem768 splits ML-KEM-768 (FIPS 203) encapsulation in two, so that
// its halves can be sent while the other side's key is still on its way.
//
// An encapsulation key is cut into a header (ρ ‖ SHA3-256(ek), 64 bytes) and a
// vector (t̂, 1,152 bytes). [Encapsulate1] needs the header alone and gives the
// shared secret and the first 960 bytes of the ciphertext; [Encapsulate2] needs
// the vector too and gives the last 128. The two halves put together are the
// ordinary ML-KEM-768 ciphertext for the same 32-byte message, so that key
// generation and decapsulation are those of crypto/mlkem.
//
// The package does not draw randomness and keeps no state: the caller draws the
// message m, keeps it between the halves, and erases it.
//
// # Constant time
//
// What depends on secrets: the message m, the PRF key r derived from it, the
// vectors y, e1, e2 sampled from r, and everything computed from those up to the
// compressed ciphertext. On these the package performs only additions,
// subtractions, multiplications, shifts by constants, and masks, whose time does
// not depend on their operands on the machines Go supports: no division or
// remainder (reductions are Montgomery's and Barrett's), no branch, no index.
// Loops have constant bounds. The hash functions are the standard library's.
//
// What is public and may therefore branch: ρ and the matrix sampled from it by
// rejection, the vector t̂ and the check of its range and hash.
package mlkem768
