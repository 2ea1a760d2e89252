// Package e2e is a test: people with the real engine and the real vault, and the
// real relay with its database, in one process, over a network that does its worst.
//
// A schedule is drawn from a seed. Two to four people write to each other in all
// directions, also for the first time and at the same instant. Meanwhile the
// network delays, breaks connections in the middle of a frame, swallows what is
// sent without a word, loses frames, repeats them, brings old ones back and turns
// their order round; people go offline, lock their profiles, and come back; the
// relay restarts; hours and days pass, in which prekeys grow old. People's programs
// and the relay are also killed: at a moment of the schedule's choosing, or in the
// middle of an operation of the network while other goroutines write to the disk.
// What goes on then is the copy of the files that was made at that moment.
//
// What is looked at is public: the conversations and events of the engines, what
// commands are given, the bytes on the wire, the files of the relay.
//
//   - P1. No text is shown twice, and nothing is given twice to a program that
//     takes what has arrived. Found: a cursor that is not stored; a receiver that
//     does not recognise duplicates shows them as undecryptable.
//   - P2. What Send has accepted is in the conversation whatever happens, in its
//     order, queued or sent. Found: a Send that returns before it has stored.
//   - P3. An envelope ID stands for the same bytes for ever, no place in a ratchet,
//     and so no key and nonce, is used for two ciphertexts, and there are no more
//     ciphertexts than things to say. Found: a retry that encrypts again, under a
//     new ID or the old one; ciphertexts that leave before they are stored.
//   - P4. On the screen, whenever it is drawn, everybody's messages stand in the
//     order of their numbers, every hole is marked, and nothing moves that was
//     shown. Found: messages shown as they come; places by arrival.
//   - P5. When the trouble ends and everything has come to rest, what was accepted
//     is displayed, all of it and nothing else; nothing waits anywhere, nothing is
//     undecryptable, and nobody had to start a second session. Found: a receiver or
//     a relay that acknowledges before it has stored; a relay that deletes what it
//     has only pushed; a sender that forgets before the relay has acknowledged; a
//     ratchet that is not stored together with the ciphertext; prekeys that are
//     erased while messages use them.
//   - What an event tells of is there when it is looked for, then and for ever.
//     Found: events that are told before the commit.
//
// Each of these breaks is a patch in testdata/breaks, and TestBreaks shows that the
// schedules find it. What they do not cover is a disk that fails or cuts a
// transaction in two; packages vault, mailbox/sqlite and cmd/chate2e-server test
// that with processes of their own.
//
//	CHATE2E_E2E_SCHEDULES=1000 go test ./e2e      # a thousand schedules
//	CHATE2E_E2E_SEED=62e6d0db4f42dc65 go test ./e2e   # one of them again
//	CHATE2E_E2E_BREAKS=1 go test -run Breaks ./e2e    # the broken builds
package e2e
