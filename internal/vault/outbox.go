package vault

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"
)

// JobID names a job of the outbox within this vault.
type JobID int64

// EnvelopeID names one ciphertext towards the relay: 128 random bits.
type EnvelopeID [16]byte

func (id EnvelopeID) String() string { return hex.EncodeToString(id[:]) }

// Job is something that still has to reach another account.
type Job struct {
	ID      JobID
	Peer    string    // user ID of the other account; jobs to one peer keep their order
	Message MessageID // the message it sends; zero for a receipt and the like
	Content []byte    // what to encrypt; opaque

	CreatedAt time.Time
	ExpiresAt time.Time
}

// Sealed is a finished ciphertext. It is sent as it is, however often that takes.
type Sealed struct {
	ID         EnvelopeID
	To         Address
	Ciphertext []byte
}

// JobLifetime is when a job expires unless it says otherwise.
const JobLifetime = 30 * 24 * time.Hour

// Enqueue adds a job; its ID is set by the vault, its times unless given. A
// message whose peer is held becomes [Held].
//
// [ErrNotFound]: there is no such message. [ErrDuplicate]: the message has a job
// already. Nothing is changed then.
func (tx *Tx) Enqueue(j Job) (JobID, error) {
	var message any
	if !j.Message.IsZero() {
		var row int64
		var busy bool
		if err := tx.row(`SELECT id, EXISTS (SELECT 1 FROM jobs WHERE message = messages.id) FROM messages WHERE msg_id = ?`,
			args(j.Message[:]), &row, &busy); err != nil {
			return 0, err
		}
		if busy {
			return 0, ErrDuplicate
		}
		message = row
	}
	if j.CreatedAt.IsZero() {
		j.CreatedAt = tx.Now
	}
	if j.ExpiresAt.IsZero() {
		j.ExpiresAt = j.CreatedAt.Add(JobLifetime)
	}
	if err := tx.row(`INSERT INTO jobs (peer, message, content, created_at, expires_at) VALUES (?, ?, ?, ?, ?) RETURNING id`,
		args(j.Peer, message, blob(j.Content), stamp(j.CreatedAt), stamp(j.ExpiresAt)), &j.ID); err != nil {
		return 0, err
	}
	lane, err := tx.Lane(j.Peer)
	if err == nil && lane.Held {
		err = tx.Hold(j.Peer, lane.Reason)
	}
	return j.ID, err
}

const selectJob = `
	SELECT j.id, j.peer, m.msg_id, j.content, j.created_at, j.expires_at
	FROM jobs j LEFT JOIN messages m ON m.id = j.message LEFT JOIN lanes l ON l.peer = j.peer `

func scanJob(row scanner) (Job, error) {
	var j Job
	var message []byte
	err := row.Scan(&j.ID, &j.Peer, &message, &j.Content, timestamp{&j.CreatedAt}, timestamp{&j.ExpiresAt})
	copy(j.Message[:], message)
	return j, err
}

// Job returns one job, or [ErrNotFound].
func (tx *Tx) Job(id JobID) (Job, error) {
	found, err := list(tx, scanJob, selectJob+`WHERE j.id = ?`, id)
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Job{}, err
	}
	return found[0], nil
}

// DueJobs returns up to n jobs whose lane neither waits nor is held, in the order
// of sending.
func (tx *Tx) DueJobs(n int) ([]Job, error) {
	return list(tx, scanJob, selectJob+`
		WHERE coalesce(l.held, 0) = 0 AND coalesce(l.next_at, 0) <= ? ORDER BY j.id LIMIT ?`, stamp(tx.Now), n)
}

// NextDue returns when the next waiting lane with jobs is due. It reports false
// if no lane waits; a lane that is due already does not.
func (tx *Tx) NextDue() (time.Time, bool, error) {
	var t time.Time
	err := tx.row(`
		SELECT min(next_at) FROM lanes l
		WHERE held = 0 AND next_at > ? AND EXISTS (SELECT 1 FROM jobs j WHERE j.peer = l.peer)`,
		args(stamp(tx.Now)), timestamp{&t})
	return t, !t.IsZero(), err
}

// CountJobs returns how many jobs the outbox has.
func (tx *Tx) CountJobs() (int, error) {
	var n int
	err := tx.row(`SELECT count(*) FROM jobs`, nil, &n)
	return n, err
}

// PutSealed stores the finished ciphertext of a job for one device and draws its
// envelope ID. It belongs into the transaction that stores the advanced session
// record, before any byte of it leaves the process.
//
// [ErrDuplicate]: the job has a ciphertext for this device, which alone may be
// sent. [ErrNotFound]: there is no such job, because it was given up.
func (tx *Tx) PutSealed(job JobID, to Address, ciphertext []byte) (EnvelopeID, error) {
	var exists, sealed bool
	if err := tx.row(`
		SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1),
			EXISTS (SELECT 1 FROM sealed WHERE job = ?1 AND user_id = ?2 AND device = ?3)`,
		args(job, to.User, to.Device), &exists, &sealed); err != nil {
		return EnvelopeID{}, err
	}
	if !exists {
		return EnvelopeID{}, ErrNotFound
	}
	if sealed {
		return EnvelopeID{}, ErrDuplicate
	}
	var id EnvelopeID
	_, _ = rand.Read(id[:])
	_, err := tx.exec(`INSERT INTO sealed (job, user_id, device, envelope_id, ciphertext) VALUES (?, ?, ?, ?, ?)`,
		job, to.User, to.Device, id[:], blob(ciphertext))
	return id, err
}

// Sealed returns the finished ciphertexts of a job, none before PutSealed.
func (tx *Tx) Sealed(job JobID) ([]Sealed, error) {
	return list(tx, func(row scanner) (Sealed, error) {
		var s Sealed
		var id []byte
		err := row.Scan(&id, &s.To.User, &s.To.Device, &s.Ciphertext)
		copy(s.ID[:], id)
		return s, err
	}, `SELECT envelope_id, user_id, device, ciphertext FROM sealed WHERE job = ? ORDER BY user_id, device`, job)
}

// MarkSent ends a job that the relay has acknowledged: its ciphertexts are erased,
// its message is [Sent] unless it was further already, and the back-off of its
// peer ends. A job that is gone is no error.
func (tx *Tx) MarkSent(id JobID) error {
	j, err := tx.Job(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tx.endJob(j, Sent); err != nil {
		return err
	}
	_, err = tx.exec(`UPDATE lanes SET attempts = 0, next_at = 0, reason = '' WHERE peer = ? AND held = 0`, j.Peer)
	return err
}

// FailJob gives a job up: its message is [Failed] unless it has reached the relay.
// A job that is gone is no error.
func (tx *Tx) FailJob(id JobID) error {
	j, err := tx.Job(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return tx.endJob(j, Failed)
}

// ExpireJobs gives up every job whose time is over, and returns them.
func (tx *Tx) ExpireJobs() ([]Job, error) {
	expired, err := list(tx, scanJob, selectJob+`WHERE j.expires_at <= ? ORDER BY j.id`, stamp(tx.Now))
	if err != nil {
		return nil, err
	}
	for _, j := range expired {
		if err := tx.endJob(j, Failed); err != nil {
			return nil, err
		}
	}
	return expired, nil
}

// endJob deletes a job and moves its message from a state before [Sent] to to.
func (tx *Tx) endJob(j Job, to State) error {
	if _, err := tx.exec(`DELETE FROM jobs WHERE id = ?`, j.ID); err != nil {
		return err
	}
	_, err := tx.exec(`UPDATE messages SET state = ? WHERE msg_id = ? AND out = 1 AND state IN ('queued', 'held')`,
		to, j.Message[:])
	return err
}

// Lane is how the outbox stands towards one peer.
type Lane struct {
	Attempts int       // failed ones since the last success
	NextAt   time.Time // no attempt before; zero: at once
	Held     bool      // a decision of the user is missing
	Reason   string    // why, as a code; "" for none
}

// Lane returns the lane of a peer; one that never failed is zero.
func (tx *Tx) Lane(peer string) (Lane, error) {
	var l Lane
	var next int64
	err := tx.row(`SELECT attempts, next_at, held, reason FROM lanes WHERE peer = ?`, args(peer),
		&l.Attempts, &next, &l.Held, &l.Reason)
	if errors.Is(err, ErrNotFound) {
		return Lane{}, nil
	}
	if next > 0 {
		l.NextAt = time.UnixMilli(next).UTC()
	}
	return l, err
}

// BackOff counts a failed attempt to reach a peer, and lets all its jobs wait
// until the given time.
func (tx *Tx) BackOff(peer string, until time.Time, reason string) error {
	_, err := tx.exec(`
		INSERT INTO lanes (peer, attempts, next_at, reason) VALUES (?1, 1, ?2, ?3)
		ON CONFLICT (peer) DO UPDATE SET attempts = attempts + 1, next_at = ?2, reason = ?3`,
		peer, until.UnixMilli(), reason)
	return err
}

// RetryNow ends all waiting, but no holding.
func (tx *Tx) RetryNow() error {
	_, err := tx.exec(`UPDATE lanes SET next_at = 0 WHERE next_at > 0`)
	return err
}

// Hold stops all sending to a peer until [Tx.Release]; its queued messages are [Held].
func (tx *Tx) Hold(peer, reason string) error {
	if _, err := tx.exec(`
		INSERT INTO lanes (peer, held, reason) VALUES (?1, 1, ?2)
		ON CONFLICT (peer) DO UPDATE SET held = 1, reason = ?2`, peer, reason); err != nil {
		return err
	}
	return tx.moveQueued(peer, Queued, Held)
}

// Release ends the holding of a peer; its held messages are [Queued] again.
func (tx *Tx) Release(peer string) error {
	if _, err := tx.exec(`UPDATE lanes SET held = 0, attempts = 0, next_at = 0, reason = '' WHERE peer = ?`, peer); err != nil {
		return err
	}
	return tx.moveQueued(peer, Held, Queued)
}

func (tx *Tx) moveQueued(peer string, from, to State) error {
	_, err := tx.exec(`
		UPDATE messages SET state = ? WHERE state = ? AND id IN (SELECT message FROM jobs WHERE peer = ?)`,
		to, from, peer)
	return err
}
