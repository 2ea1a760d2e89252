-- The vault's first schema. Times are milliseconds since 1970, UTC. "Opaque"
-- means: bytes of another package, which the vault never looks into.

-- This profile's account and device: one row, written once the keys are made.
CREATE TABLE own (
	one           INTEGER PRIMARY KEY CHECK (one = 1),
	user_id       TEXT NOT NULL CHECK (length(user_id) = 32),
	username      TEXT NOT NULL,
	display_name  TEXT NOT NULL,
	relay         TEXT NOT NULL,     -- URL
	device        INTEGER NOT NULL CHECK (device >= 1),
	account_key   BLOB NOT NULL,     -- public half
	account_seal  BLOB NOT NULL,     -- private half, sealed under the password
	identity      BLOB NOT NULL,     -- the device's identity key pair, opaque
	registered_at INTEGER            -- NULL until the relay has confirmed
) STRICT;

-- What the user chose: auto-accept, presence, receipts, language.
CREATE TABLE settings (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Numbers that only the program sets: the last visible item, recv's cursor, how
-- many requests were dropped.
CREATE TABLE counters (
	name  TEXT PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Our own prekeys, both halves.
CREATE TABLE prekeys (
	kind         INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4), -- type PreKeyKind
	id           INTEGER NOT NULL CHECK (id > 0),
	record       BLOB NOT NULL,      -- opaque
	created_at   INTEGER NOT NULL,
	published_at INTEGER,            -- NULL until the relay has it
	erase_at     INTEGER,            -- when the private half dies; NULL: when it is used
	PRIMARY KEY (kind, id)
) STRICT;
CREATE INDEX prekeys_erase ON prekeys (erase_at) WHERE erase_at IS NOT NULL;

-- Base keys of first messages that used a last-resort prekey: a repeat is a replay.
CREATE TABLE last_resort_uses (
	kind     INTEGER NOT NULL DEFAULT 4 CHECK (kind = 4),
	id       INTEGER NOT NULL,
	base_key BLOB NOT NULL,
	PRIMARY KEY (id, base_key),
	FOREIGN KEY (kind, id) REFERENCES prekeys ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX last_resort_uses_key ON last_resort_uses (kind, id);

-- All sessions with one device, ours of other devices too.
CREATE TABLE records (
	user_id    TEXT NOT NULL,
	device     INTEGER NOT NULL,
	record     BLOB NOT NULL,        -- opaque
	updated_at INTEGER NOT NULL,
	PRIMARY KEY (user_id, device)
) STRICT;

-- Signed device lists of contacts and our own, every version seen: a second list
-- with the same number and another hash is a fork.
CREATE TABLE device_lists (
	user_id TEXT NOT NULL,
	version INTEGER NOT NULL CHECK (version >= 1),
	hash    BLOB NOT NULL CHECK (length(hash) = 32),
	signed  BLOB NOT NULL,           -- the list as it was signed, opaque
	seen_at INTEGER NOT NULL,
	PRIMARY KEY (user_id, version)
) STRICT;

-- The devices on the newest list of each account.
CREATE TABLE devices (
	user_id  TEXT NOT NULL,
	device   INTEGER NOT NULL CHECK (device >= 1),
	identity BLOB NOT NULL,          -- public identity key
	added_at INTEGER,                -- as the list says
	PRIMARY KEY (user_id, device)
) STRICT, WITHOUT ROWID;

CREATE TABLE contacts (
	id            INTEGER PRIMARY KEY,
	user_id       TEXT NOT NULL UNIQUE CHECK (length(user_id) = 32),
	account_key   BLOB,              -- public; NULL until a bundle or first message brought it
	username      TEXT NOT NULL,
	display_name  TEXT NOT NULL,
	relay         TEXT NOT NULL,     -- URL of the contact's relay; empty: ours
	state         TEXT NOT NULL CHECK (state IN ('requested', 'incoming', 'accepted', 'blocked')),
	by_username   INTEGER NOT NULL CHECK (by_username IN (0, 1)), -- added by a name the relay resolved: trust on first use
	verified      INTEGER NOT NULL CHECK (verified IN (0, 1)),    -- safety numbers were compared
	new_user_id   TEXT CHECK (length(new_user_id) = 32),          -- whom the username names now, if not user_id: key_changed
	topic_out     BLOB,              -- topic we publish presence and typing on, and its key
	topic_out_key BLOB,
	topic_in      BLOB,              -- the contact's
	topic_in_key  BLOB,
	last_seen     INTEGER,           -- last presence or message
	added_at      INTEGER NOT NULL
) STRICT;

-- A conversation; every contact has one.
CREATE TABLE chats (
	id       INTEGER PRIMARY KEY,
	contact  INTEGER NOT NULL UNIQUE REFERENCES contacts ON DELETE CASCADE,
	draft    TEXT NOT NULL DEFAULT '',
	draft_at INTEGER
) STRICT;

-- One sending device in one conversation: it numbers its messages 1, 2, 3, …
-- Outlives the contact: if the two meet again, the numbers go on.
CREATE TABLE streams (
	id       INTEGER PRIMARY KEY,
	peer     TEXT NOT NULL,          -- the conversation: user ID of the other account
	user_id  TEXT NOT NULL,          -- the sender: peer or we
	device   INTEGER NOT NULL,
	next_seq INTEGER NOT NULL DEFAULT 1 CHECK (next_seq >= 1), -- one above the highest seen
	UNIQUE (peer, user_id, device)
) STRICT;

-- Numbers of a stream that have not arrived although later ones have.
CREATE TABLE holes (
	stream INTEGER NOT NULL REFERENCES streams,
	last   INTEGER NOT NULL,
	first  INTEGER NOT NULL CHECK (first BETWEEN 1 AND last),
	since  INTEGER NOT NULL,         -- when it was noticed
	shown  INTEGER NOT NULL CHECK (shown IN (0, 1)), -- 0: messages after it still wait for it
	PRIMARY KEY (stream, last)
) STRICT, WITHOUT ROWID;
CREATE INDEX holes_open ON holes (since) WHERE shown = 0;

-- Everything a conversation shows.
CREATE TABLE messages (
	id          INTEGER PRIMARY KEY, -- the item's ticket: order of arrival here, never used again
	msg_id      BLOB NOT NULL UNIQUE CHECK (length(msg_id) = 16),
	chat        INTEGER NOT NULL REFERENCES chats ON DELETE CASCADE,
	stream      INTEGER,             -- a row of streams, which is never deleted; NULL: a line of our own program
	seq         INTEGER NOT NULL DEFAULT 0 CHECK (seq >= 0),  -- number in the stream; 0: none
	place       INTEGER NOT NULL,    -- (place, seq) is the order on the screen; see order.go
	shown       INTEGER,             -- order of becoming visible: id, or a later ticket if it had to wait; NULL: it still waits
	out         INTEGER NOT NULL CHECK (out IN (0, 1)),       -- 1: sent by this account
	kind        TEXT NOT NULL CHECK (kind <> ''),             -- type Kind
	body        TEXT NOT NULL,       -- shown and searched; empty for kinds without text
	detail      BLOB,                -- what the kind needs beside text, opaque
	state       TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'delivered', 'read', 'failed', 'held')),
	client_id   TEXT UNIQUE,         -- makes a scripted retry harmless
	prev        BLOB,                -- hash of the last message of the other side that the sender had seen
	late        INTEGER NOT NULL CHECK (late IN (0, 1)),      -- came after its gap was shown
	request     INTEGER NOT NULL CHECK (request IN (0, 1)),   -- its sender was a stranger then
	unread      INTEGER NOT NULL CHECK (unread IN (0, 1)),
	sent_at     INTEGER NOT NULL,    -- by the sender's clock
	received_at INTEGER,             -- by ours; NULL for our own
	CHECK (seq = 0 OR stream IS NOT NULL),
	CHECK (unread = 0 OR out = 0)
) STRICT;
CREATE UNIQUE INDEX messages_seq ON messages (stream, seq) WHERE seq > 0;
CREATE INDEX messages_page ON messages (chat, place, seq);
CREATE UNIQUE INDEX messages_arrival ON messages (shown) WHERE shown IS NOT NULL AND out = 0;
CREATE INDEX messages_waiting ON messages (stream, seq) WHERE shown IS NULL;
CREATE INDEX messages_unread ON messages (chat, place, seq) WHERE unread = 1;

-- The words of the messages; the text itself stays in messages, where it never changes.
CREATE VIRTUAL TABLE words USING fts5 (
	body, content = 'messages', content_rowid = 'id', columnsize = 0, prefix = '1', tokenize = 'chate2e'
);
CREATE TRIGGER messages_added AFTER INSERT ON messages WHEN new.body <> '' BEGIN
	INSERT INTO words (rowid, body) VALUES (new.id, new.body);
END;
CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN
	INSERT INTO words (words, rowid, body) SELECT 'delete', old.id, old.body WHERE old.body <> '';
	INSERT OR IGNORE INTO seen_messages (msg_id, seen_at)
		SELECT old.msg_id, old.received_at WHERE old.received_at IS NOT NULL;
END;

-- SHA-256 of ciphertexts that were processed: the same one again is a duplicate.
CREATE TABLE seen_envelopes (
	hash    BLOB PRIMARY KEY CHECK (length(hash) = 32),
	seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- IDs of received contents that have no row in messages (any more).
CREATE TABLE seen_messages (
	msg_id  BLOB PRIMARY KEY CHECK (length(msg_id) = 16),
	seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Envelopes that did not open, raw: a later re-send may explain them.
CREATE TABLE undecryptable (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	user_id     TEXT NOT NULL,       -- whom the envelope names as its sender
	device      INTEGER NOT NULL,
	envelope    BLOB NOT NULL,
	received_at INTEGER NOT NULL
) STRICT;
CREATE INDEX undecryptable_peer ON undecryptable (user_id, id);

-- What still has to reach another account.
CREATE TABLE jobs (
	id         INTEGER PRIMARY KEY AUTOINCREMENT, -- order of sending
	peer       TEXT NOT NULL,        -- user ID of the other account
	message    INTEGER UNIQUE REFERENCES messages ON DELETE CASCADE, -- the row it sends; NULL: a receipt and the like
	content    BLOB NOT NULL,        -- what to encrypt, opaque
	created_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL      -- then the user sees failed
) STRICT;
CREATE INDEX jobs_peer ON jobs (peer, id);
CREATE INDEX jobs_expiry ON jobs (expires_at);

-- The finished ciphertexts of a job: a retry sends these very bytes.
CREATE TABLE sealed (
	job         INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
	user_id     TEXT NOT NULL,
	device      INTEGER NOT NULL,
	envelope_id BLOB NOT NULL UNIQUE CHECK (length(envelope_id) = 16),
	ciphertext  BLOB NOT NULL,
	PRIMARY KEY (job, user_id, device)
) STRICT;

-- One lane per peer, so that jobs to it keep their order: how long it waits and why.
CREATE TABLE lanes (
	peer     TEXT PRIMARY KEY,
	attempts INTEGER NOT NULL DEFAULT 0, -- failed ones since the last success
	next_at  INTEGER NOT NULL DEFAULT 0, -- no attempt before
	held     INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)), -- a decision of the user is missing
	reason   TEXT NOT NULL DEFAULT ''    -- a code for the user
) STRICT, WITHOUT ROWID;

-- Protocol events for the inspector, newest 500 a contact.
CREATE TABLE events (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	contact INTEGER NOT NULL REFERENCES contacts ON DELETE CASCADE,
	at      INTEGER NOT NULL,
	event   BLOB NOT NULL             -- opaque
) STRICT;
CREATE INDEX events_contact ON events (contact, id);
