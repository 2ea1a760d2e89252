package mailboxtest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
)

// testModel plays random sends, retries, acknowledgements and restarts on a store
// and on a model of it, and compares what is in the mailboxes.
func testModel(t *testing.T, fresh Fresh) {
	const people, quota = 3, 12
	f := newFixture(t, fresh, mailbox.Limits{MailboxMessages: quota})
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		// Other people in every round, on the same store.
		round++
		person := func(i int) int { return 10*round + i }
		type row struct {
			sender, id int
			body       string
			handle     relay.Handle
		}
		var (
			boxes [people]mailbox.ID
			model [people][]row
			acked []mailbox.Ack
		)
		for i := range people {
			boxes[i] = f.register(t, person(i))[0]
		}
		someone := rapid.IntRange(0, people-1)
		check := func() {
			for i := range people {
				got := f.all(t, boxes[i])
				var wantRows, gotRows []row
				for _, in := range got {
					for j := range people {
						if userID(person(j)) != in.From.User {
							continue
						}
						for id := range 8 {
							if envelopeID(id) == in.ID {
								gotRows = append(gotRows, row{sender: j, id: id, body: string(in.Body)})
							}
						}
					}
				}
				for k, m := range model[i] {
					m.handle = relay.Handle{}
					wantRows = append(wantRows, m)
					if k < len(got) {
						model[i][k].handle = got[k].Handle
					}
				}
				if diff := cmp.Diff(wantRows, gotRows, cmp.AllowUnexported(row{}), cmpopts.EquateEmpty()); diff != "" {
					r.Fatalf("mailbox %d differs (-model +store):\n%s", i, diff)
				}
			}
		}
		send := func(batch *mailbox.Batch) (wantErr error) {
			sender, to := someone.Draw(r, "sender"), someone.Draw(r, "to")
			id := rapid.IntRange(0, 7).Draw(r, "id")
			body := rapid.SampledFrom([]string{"a", "b"}).Draw(r, "body")
			if sender == to {
				to = (to + 1) % people
			}
			batch.Puts = append(batch.Puts, message(person(sender), person(to), id, body))
			for _, m := range model[to] {
				if m.sender == sender && m.id == id {
					if m.body != body {
						return mailbox.ErrConflict
					}
					return nil
				}
			}
			if len(model[to]) == quota {
				return mailbox.ErrMailboxFull
			}
			model[to] = append(model[to], row{sender: sender, id: id, body: body})
			return nil
		}
		r.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"commit": func(r *rapid.T) {
				batch := new(mailbox.Batch)
				// Acknowledgements of what was there before the batch, right and wrong.
				for i := range people {
					for _, m := range model[i] {
						switch rapid.IntRange(0, 5).Draw(r, "ack") {
						case 0:
							batch.Acks = append(batch.Acks, mailbox.Ack{Mailbox: boxes[i], Handle: m.handle})
						case 1:
							batch.Acks = append(batch.Acks, mailbox.Ack{Mailbox: boxes[(i+1)%people], Handle: m.handle})
						}
					}
				}
				var wants []error
				for range rapid.IntRange(0, 6).Draw(r, "sends") {
					wants = append(wants, send(batch))
				}
				if len(acked) > 0 {
					batch.Acks = append(batch.Acks, acked[0])
				}
				// Puts come before acknowledgements in a batch.
				for _, a := range batch.Acks {
					for i := range people {
						if boxes[i] != a.Mailbox {
							continue
						}
						for k, m := range model[i] {
							if m.handle == a.Handle && m.handle.Seq != 0 {
								model[i] = append(model[i][:k:k], model[i][k+1:]...)
								acked = append(acked, a)
								break
							}
						}
					}
				}
				if err := f.store.Commit(f.ctx, batch, f.now); err != nil {
					r.Fatalf("Commit: %v", err)
				}
				for i, p := range batch.Puts {
					if !errors.Is(p.Err, wants[i]) {
						r.Fatalf("put %d: %v, want %v", i, p.Err, wants[i])
					}
				}
			},
			"reopen": func(r *rapid.T) {
				if rapid.IntRange(0, 9).Draw(r, "really") == 0 {
					f.reopen(t)
				}
			},
			"page": func(r *rapid.T) {
				i := someone.Draw(r, "who")
				limit := rapid.IntRange(1, 5).Draw(r, "limit")
				var got []relay.Incoming
				for cursor, more := uint64(0), true; more; {
					var err error
					if got, more, err = f.store.After(f.ctx, boxes[i], cursor, limit, 1<<20, got); err != nil {
						r.Fatalf("After: %v", err)
					}
					if len(got) > 0 {
						cursor = got[len(got)-1].Seq
					}
				}
				if len(got) != len(model[i]) {
					r.Fatalf("%d envelopes in pages of %d, want %d", len(got), limit, len(model[i]))
				}
			},
			"expire nothing": func(r *rapid.T) {
				f.now = f.now.Add(time.Millisecond)
				if n, _, err := f.store.Expire(f.ctx, f.now); err != nil || n != 0 {
					r.Fatalf("Expire = %d, %v", n, err)
				}
			},
		})
		for i := range people {
			if err := f.store.DeleteAccount(f.ctx, userID(person(i))); err != nil {
				r.Fatalf("deleting %s: %v", fmt.Sprint(i), err)
			}
		}
	})
}
