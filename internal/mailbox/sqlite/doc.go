// Package sqlite keeps a relay's mailboxes in one SQLite file.
//
//	db, err := sqlite.Open(filepath.Join(data, "relay.db"), sqlite.Config{})
//	defer db.Close()
//
// One goroutine writes. It gathers whatever calls are waiting into one
// transaction, so that hundreds of sends share a single fsync (group commit), and
// answers each after the commit: WAL mode with synchronous=FULL makes a commit
// durable before it returns. Reads go through a few connections of their own and
// never wait for the writer.
//
// The package uses the driver's own API and not database/sql: the path of a
// message is a handful of statements, and the detour costs as much as they do.
//
// Other processes may open the same file, as the commands that invite and disable
// people do while the relay runs: SQLite's locks keep the file whole, and the
// writer forgets what it has cached when it sees that somebody else has written.
package sqlite
