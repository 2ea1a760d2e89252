package sqlite_test

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
)

// cpu returns the processor time this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// What a transaction of the busy relay costs per message: it stores as many as it
// deletes.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{16, 256} {
		b.Run(fmt.Sprint(size, " messages"), func(b *testing.B) {
			db, err := sqlite.Open(filepath.Join(b.TempDir(), "relay.db"), sqlite.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			const users = 200
			var boxes []mailbox.ID
			for i := range users {
				boxes = append(boxes, register(b, db, i))
			}
			var (
				body    = make([]byte, 300)
				batch   mailbox.Batch
				handles []mailbox.Ack
				cursor  [users]uint64
				into    []relay.Incoming
				id      uint64
			)
			began := cpu(b)
			for b.Loop() {
				batch = mailbox.Batch{Acks: handles}
				for i := range size {
					id++
					var envelope relay.EnvelopeID
					binary.BigEndian.PutUint64(envelope[:], id*0x9E3779B97F4A7C15) // spread like random ones
					batch.Puts = append(batch.Puts, mailbox.Put{
						From: relay.Address{User: user((i + 1) % users), Device: 1}, To: user(i % users),
						Envelopes: []relay.Outgoing{{Device: 1, ID: envelope, Body: body}},
					})
				}
				if err := db.Commit(b.Context(), &batch, now); err != nil {
					b.Fatal(err)
				}
				handles = handles[:0]
				for i := range min(size, users) {
					if into, _, err = db.After(b.Context(), boxes[i], cursor[i], 100, 1<<20, into[:0]); err != nil {
						b.Fatal(err)
					}
					for _, in := range into {
						cursor[i] = in.Seq
						handles = append(handles, mailbox.Ack{Mailbox: boxes[i], Handle: in.Handle})
					}
				}
			}
			b.ReportMetric(float64((cpu(b)-began).Nanoseconds())/1e3/float64(b.N*size), "cpu-µs/message")
		})
	}
}
