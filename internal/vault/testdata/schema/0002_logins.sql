-- Logins at the relay: those of this profile, written down before they are made, and
-- those of others with the same keys.
CREATE TABLE logins (
	number     INTEGER PRIMARY KEY,   -- the order
	id         BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
	noticed_at INTEGER                -- when somebody else's was noticed; NULL: our own
) STRICT;
