package erasure

import "encoding/binary"

// Multiply returns a·b by the tables, and by the arithmetic on whole rows.
func Multiply(a, b uint16) (byTable, byRow uint16) {
	f := field()
	if a != 0 && b != 0 {
		byTable = f.exp[int(f.log[a])+int(f.log[b])]
	}
	var chunk Chunk
	binary.BigEndian.PutUint16(chunk[14:], a)
	var rows [1]row
	loadRows(rows[:], chunk[:])
	chunk = combine(rows[:], []uint16{b}).bytes()
	return byTable, binary.BigEndian.Uint16(chunk[14:])
}
