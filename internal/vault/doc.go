// Package vault is the client's encrypted database: one profile, one folder.
//
// The folder (0700, its files 0600 whatever the umask) holds
//
//	vault.db    SQLite, encrypted block by block with Adiantum, a checksum in
//	            every page, WAL, synchronous=FULL (with -wal and -shm beside it)
//	vault.key   the random vault key, wrapped by a key that Argon2id derives
//	            from the password; 211 bytes
//	lock        held by the one process that has the profile open
//
// [Open] a profile, then do everything inside [DB.Update] or [DB.View]: the
// methods hang on [Tx], so nothing can run outside a transaction, and one
// Update is one durable unit of work. When Update has returned nil, no crash of
// the process or of the computer takes the change back.
//
// The package stores opaque bytes: it does not know what a session record, a
// device list or a content looks like. It does know what a conversation is,
// because order, holes and duplicates are properties of rows (see [Tx.AddMessage]).
//
// # What it protects
//
// Whoever gets the folder of a locked profile learns the size of the files, when
// they were written and which 4 KiB blocks changed between two copies, and
// nothing else; guessing the password costs one Argon2id run (at least 64 MiB,
// about half a second on the computer that made the profile) a guess. Whoever
// changes the folder is noticed: a changed key file fails like a wrong password,
// and a changed, moved or missing database block is [ErrDamaged], never a wrong row.
//
// The private half of the account key is sealed once more ([DB.SealUnderPassword]):
// the vault key does not open it, so a thief of an unlocked device does not have it.
//
// # What it does not protect
//
// A block, the -wal file or the whole folder can be put back to an older state
// of itself: roll-back is not noticed here. Keys are in memory while the profile
// is open. After a password change the old password still opens an old copy of
// the key file. Deleted rows are overwritten in the database and its index, but
// a disk or a file system may keep older blocks, encrypted with the same key.
package vault
