// Package content is what is inside the encryption: what the peer sees and the
// relay does not.
//
//	encoded, err := content.Message{ID: id, Seq: seq, SentAt: now, Body: content.Text{Text: text}}.Encode()
//	plaintext := content.Content{OwnList: ours, PeerList: theirs, Message: encoded}.Pad()
//	...
//	c, err := content.Parse(opened.Plaintext)
//	m, err := content.ParseMessage(c.Message)
//
// A message is encoded once, when it is accepted for sending, and travels in a
// content of its own to each device of the receiver. Contents are padded, so that
// the size of a ciphertext says little.
//
// Everything that was parsed is valid: sizes, ranges, UTF-8. A message of a kind
// that this version does not know parses as [Unknown] and keeps its bytes.
//
// Presence travels over topics instead, see [Presence]. docs/PROTOCOL.md,
// Content, describes the bytes.
package content

//go:generate sh -c "protoc --plugin=protoc-gen-go=$(go tool -n -modfile=../../tools/go.mod protoc-gen-go) --go_out=contentpb --go_opt=paths=source_relative content.proto"
