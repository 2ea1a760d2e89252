package vault

// How text is erased. SQLite overwrites deleted rows (secure_delete), but the
// words of a deleted message stay in the full-text index until the parts of the
// index that hold them are rewritten. Few messages are taken out of it one by
// one, which costs milliseconds each; many at once by rewriting the index, which
// costs about half a second for 100,000 messages. Then the write-ahead log, which
// holds older pages, is emptied.

// rewriteFrom is the number of deleted messages from which the index is rewritten.
const rewriteFrom = 40

// DeleteMessages erases messages for good, whatever their state, and returns how
// many there were; an unfinished job of theirs is given up. Their words are gone
// from the database, its index and its log when Update returns, unless a long
// View still reads an older state.
//
// Their IDs are remembered, so that a message that is delivered again does not
// come back.
func (tx *Tx) DeleteMessages(ids ...MessageID) (int, error) {
	deleted := 0
	err := tx.erasing(len(ids), func() error {
		for _, id := range ids {
			n, err := tx.exec(`DELETE FROM messages WHERE msg_id = ?`, id[:])
			if err != nil {
				return err
			}
			deleted += int(n)
		}
		return nil
	})
	return deleted, err
}

// ClearChat erases all items of a chat and its draft, as [Tx.DeleteMessages]
// does. The chat stays and its numbers go on.
func (tx *Tx) ClearChat(chat ChatID) error {
	n, err := tx.CountMessages(chat)
	if err != nil {
		return err
	}
	return tx.erasing(n, func() error {
		if _, err := tx.exec(`DELETE FROM messages WHERE chat = ?`, chat); err != nil {
			return err
		}
		_, err := tx.exec(`UPDATE chats SET draft = '', draft_at = NULL WHERE id = ?`, chat)
		return err
	})
}

// erasing runs a deletion of about n messages.
func (tx *Tx) erasing(n int, deletion func() error) error {
	tx.erased = true
	if n >= rewriteFrom {
		if err := deletion(); err != nil {
			return err
		}
		_, err := tx.exec(`INSERT INTO words (words) VALUES ('optimize')`)
		return err
	}
	if _, err := tx.exec(`INSERT INTO words (words, rank) VALUES ('secure-delete', 1)`); err != nil {
		return err
	}
	if err := deletion(); err != nil {
		return err
	}
	_, err := tx.exec(`INSERT INTO words (words, rank) VALUES ('secure-delete', 0)`)
	return err
}
