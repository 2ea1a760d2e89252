-- The newest logins of each device, so that it can see those that were not its own.
CREATE TABLE logins (
	number  INTEGER PRIMARY KEY, -- the order
	mailbox INTEGER NOT NULL REFERENCES devices (mailbox) ON DELETE CASCADE,
	id      BLOB NOT NULL CHECK (length(id) = 16)
) STRICT;
CREATE INDEX logins_by_mailbox ON logins (mailbox);
