package vault_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chate2e/chate2e/internal/vault"
)

// The benchmarks share one vault of 100,000 messages in 200 chats, 60 % of them
// Chinese, made once a run in a temporary folder.
const (
	bigMessages = 100_000
	bigChats    = 200
)

var big = struct {
	once sync.Once
	dir  string
	err  error
}{}

func bigVault(tb testing.TB) string {
	tb.Helper()
	big.once.Do(func() {
		big.dir, big.err = os.MkdirTemp("", "vault-bench-") //nolint:usetesting // it outlives this benchmark
		if big.err == nil {
			big.err = fillBig(tb, filepath.Join(big.dir, "big"))
		}
	})
	if big.err != nil {
		tb.Fatal(big.err)
	}
	return filepath.Join(big.dir, "big")
}

func removeBig() {
	if big.dir != "" {
		_ = os.RemoveAll(big.dir)
	}
}

// Enough words that their frequencies fall off as in real text.
var (
	english = syllables(4000, "ba ce di fo gu la me ni po ru sa te vi wo zy th st er on al")
	chinese = func() (all []string) {
		for i := range 3000 {
			all = append(all, string(rune(0x4e00+i*7)))
		}
		return all
	}()
)

func syllables(n int, parts string) (all []string) {
	s := strings.Fields(parts)
	for i := range n {
		all = append(all, s[i%20]+s[i/20%20]+s[i/400%20])
	}
	return all
}

func sentence(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(10) < 6 {
		for range 8 + r.IntN(30) {
			b.WriteString(chinese[zipf(r, len(chinese))])
		}
		b.WriteString("。")
		return b.String()
	}
	for i := range 5 + r.IntN(14) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(english[zipf(r, len(english))])
	}
	return b.String() + "."
}

func zipf(r *rand.Rand, n int) int {
	x := r.Float64()
	return int(float64(n) * x * x * x)
}

func fillBig(tb testing.TB, dir string) error {
	ctx := tb.Context()
	db, err := vault.Create(ctx, dir, password, fast)
	if err != nil {
		return err
	}
	populate(tb, db)
	r := rand.New(rand.NewPCG(1, 2))
	var chats []vault.ChatID
	var peers []vault.Address
	var next []uint64
	if err := db.Update(ctx, func(tx *vault.Tx) error {
		for i := range bigChats {
			peer := vault.Address{User: user(fmt.Sprintf("peer%03dx", i)), Device: 1}
			c, err := tx.PutContact(vault.Contact{User: peer.User, State: vault.Accepted})
			if err != nil {
				return err
			}
			chats, peers, next = append(chats, c.Chat), append(peers, peer), append(next, 0)
		}
		return nil
	}); err != nil {
		return err
	}
	for done := 0; done < bigMessages; {
		if err := db.Update(ctx, func(tx *vault.Tx) error {
			for range 1000 {
				i := zipf(r, bigChats)
				m := vault.Message{Chat: chats[i], Kind: "text", Text: sentence(r)}
				if done%1000 == 7 {
					m.Text += " marker麒麟"
				}
				if r.IntN(2) == 0 {
					m.Out = true
				} else {
					next[i]++
					m.From, m.Seq = peers[i], next[i]
				}
				if _, err := tx.AddMessage(m); err != nil {
					return err
				}
				done++
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return db.Close()
}

func openBig(b *testing.B) *vault.DB {
	dir := bigVault(b)
	defer vault.SetSystemDisk(realDisk)()
	db, err := vault.Open(b.Context(), dir, password, fast)
	if err != nil {
		b.Fatal(err)
	}
	return db
}

// BenchmarkOpen opens the vault, without the cost of the password, and reads the
// newest 50 messages of the busiest chat.
func BenchmarkOpen(b *testing.B) {
	bigVault(b)
	for b.Loop() {
		db := openBig(b)
		view(b, db, func(tx *vault.Tx) error {
			chats, err := tx.Contacts()
			if err != nil {
				return err
			}
			page, err := tx.Newest(chats[1].Chat, 50)
			if len(page) != 50 {
				b.Errorf("%d messages, want 50", len(page))
			}
			return err
		})
		b.StopTimer()
		_ = db.Close()
		b.StartTimer()
	}
}

// BenchmarkChats reads the list of conversations.
func BenchmarkChats(b *testing.B) {
	db := openBig(b)
	defer db.Close()
	for b.Loop() {
		view(b, db, func(tx *vault.Tx) error { _, err := tx.Chats(); return err })
	}
}

func BenchmarkPage(b *testing.B) {
	db := openBig(b)
	defer db.Close()
	var page []vault.Message
	for b.Loop() {
		view(b, db, func(tx *vault.Tx) (err error) {
			contacts, err := tx.Contacts()
			if err != nil {
				return err
			}
			chat := contacts[1].Chat
			if len(page) == 0 {
				page, err = tx.Newest(chat, 50)
			} else {
				page, err = tx.Before(chat, page[0].ID, 50)
			}
			return err
		})
	}
}

func BenchmarkSearch(b *testing.B) {
	db := openBig(b)
	defer db.Close()
	for _, q := range []string{"bababa", "marker", "b", "ba", "麒麟", chinese[1], chinese[0] + chinese[1], chinese[0], "bababa cebaba", "zzzz"} {
		var hits []vault.Hit
		b.Run(q, func(b *testing.B) {
			for b.Loop() {
				view(b, db, func(tx *vault.Tx) (err error) {
					hits, err = tx.Search(q, 50)
					return err
				})
			}
			b.ReportMetric(float64(len(hits)), "hits")
		})
	}
}

// BenchmarkReceive commits one received message at a time.
func BenchmarkReceive(b *testing.B) {
	db := openBig(b)
	defer db.Close()
	var chat vault.ChatID
	view(b, db, func(tx *vault.Tx) error {
		c, err := tx.Contact(bob.User)
		chat = c.Chat
		return err
	})
	var seq uint64
	view(b, db, func(tx *vault.Tx) error {
		n, err := tx.CountMessages(chat)
		seq = uint64(n)
		return err
	})
	record, envelope := make([]byte, 3000), make([]byte, 600)
	r := rand.New(rand.NewPCG(3, 4))
	start := cpuTime()
	for b.Loop() {
		seq++
		envelope[0], envelope[1], envelope[2] = byte(seq), byte(seq>>8), byte(seq>>16)
		update(b, db, func(tx *vault.Tx) error { return receive(tx, chat, bob, seq, sentence(r), record, envelope) })
	}
	b.ReportMetric(float64((cpuTime()-start).Microseconds())/float64(b.N), "cpu-µs/op")
}

// receive is the transaction of a received message, as the engine does it.
func receive(tx *vault.Tx, chat vault.ChatID, from vault.Address, seq uint64, text string, record, envelope []byte) error {
	if seen, err := tx.Seen(envelope); err != nil || seen {
		return err
	}
	if _, err := tx.Record(from); err != nil {
		return err
	}
	if err := tx.PutRecord(from, record); err != nil {
		return err
	}
	if _, err := tx.AddMessage(vault.Message{Chat: chat, From: from, Seq: seq, Kind: "text", Text: text, Unread: true}); err != nil {
		return err
	}
	return tx.MarkSeen(envelope)
}
