-- Times are milliseconds since 1970, days are days since 1970, both UTC.

CREATE TABLE meta (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
	user_id      BLOB PRIMARY KEY CHECK (length(user_id) = 20),
	username     TEXT UNIQUE CHECK (length(username) BETWEEN 3 AND 24 AND username NOT GLOB '*[^a-z0-9_]*'),
	device_list  BLOB NOT NULL,
	list_version INTEGER NOT NULL CHECK (list_version > 0),
	disabled     INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
	created_day  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: the number of a mailbox is never used again.
CREATE TABLE devices (
	mailbox      INTEGER PRIMARY KEY AUTOINCREMENT,
	user_id      BLOB NOT NULL REFERENCES accounts (user_id) ON DELETE CASCADE,
	number       INTEGER NOT NULL CHECK (number BETWEEN 1 AND 127),
	identity_key BLOB NOT NULL CHECK (length(identity_key) = 32),
	UNIQUE (user_id, number)
) STRICT;

CREATE TABLE tokens (
	hash       BLOB PRIMARY KEY CHECK (length(hash) = 32),
	mailbox    INTEGER NOT NULL REFERENCES devices (mailbox) ON DELETE CASCADE,
	expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_mailbox ON tokens (mailbox, expires_at);

-- Challenges that were answered, until they would have expired anyway.
CREATE TABLE challenges (
	nonce      BLOB PRIMARY KEY CHECK (length(nonce) = 16),
	expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- expires_at 0: never.
CREATE TABLE prekeys (
	mailbox    INTEGER NOT NULL REFERENCES devices (mailbox) ON DELETE CASCADE,
	kind       INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
	id         INTEGER NOT NULL CHECK (id BETWEEN 0 AND 4294967295),
	key        BLOB NOT NULL CHECK (length(key) BETWEEN 1 AND 4096),
	expires_at INTEGER NOT NULL,
	PRIMARY KEY (mailbox, kind, id)
) STRICT, WITHOUT ROWID;
-- One signed (1) and one last-resort (2) prekey at a time.
CREATE UNIQUE INDEX prekeys_single ON prekeys (mailbox, kind) WHERE kind IN (1, 2);

-- One-time prekeys that were handed out, so that a repeated upload does not
-- offer them again.
CREATE TABLE claimed_prekeys (
	mailbox INTEGER NOT NULL REFERENCES devices (mailbox) ON DELETE CASCADE,
	kind    INTEGER NOT NULL CHECK (kind IN (3, 4)),
	id      INTEGER NOT NULL CHECK (id BETWEEN 0 AND 4294967295),
	day     INTEGER NOT NULL,
	PRIMARY KEY (mailbox, kind, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE invites (
	hash       BLOB PRIMARY KEY CHECK (length(hash) = 32),
	uses       INTEGER NOT NULL CHECK (uses >= 0),
	expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- seq is given out by the writer, in order, and never used again. An ID is unique
-- for one sender only, and the sender must be no part of a key, since an index is
-- one more place where she would be written down: so the writer checks it.
-- envelope is the sender's user ID (20 bytes), her device number (1) and the
-- body; for an expiry (kind 1) it is empty.
CREATE TABLE messages (
	seq         INTEGER PRIMARY KEY,
	mailbox     INTEGER NOT NULL REFERENCES devices (mailbox) ON DELETE CASCADE,
	id          BLOB NOT NULL CHECK (length(id) = 16),
	kind        INTEGER NOT NULL CHECK (kind IN (0, 1)),
	received_at INTEGER NOT NULL,
	envelope    BLOB NOT NULL CHECK ((kind = 0 AND length(envelope) > 21) OR (kind = 1 AND length(envelope) = 0))
) STRICT;
CREATE INDEX messages_by_mailbox ON messages (mailbox);
CREATE INDEX messages_by_id ON messages (mailbox, id);
