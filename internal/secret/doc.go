// Package secret holds bytes that must never be printed: private keys, root,
// chain and message keys, shared secrets, passwords.
//
// Two types carry them. [Key] is a 32-byte key; [Box] wraps any other value
// that is secret as a whole, such as a parsed private key or a list of skipped
// message keys. Both print as "[redacted]" with every fmt verb and in slog, and
// both stay silent inside the unexported fields of other structs, where fmt and
// encoding/json cannot call methods: the value is held through a pointer to a
// pointer, so that reflection meets an address and goes no further.
//
// Neither type has a marshalling method, on purpose: whoever stores a key must
// write down that it does so, with [Key.Bytes] or [Box.Reveal].
//
// Erasing is best effort: the Go runtime may have copied a value before it was
// wiped (a grown stack, a moved register). Wipe removes the copy that would
// otherwise live longest.
package secret
