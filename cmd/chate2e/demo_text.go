package main

import (
	"os"
	"strings"
)

// script is what the demo says, in one language. Verbs of fmt stand in the same
// order in all of them.
type script struct {
	language               string
	preparing, windowsOpen string

	title, intro string

	relayName, relayHead, relayText, relayAt string

	keysHead, keysText, progress, userID string
	step                                 map[string]string // of making an account

	friendHead, friendText       string
	link                         string
	agreeHead, agreeText         string
	dh1, dh2, dh3, dh4, kem, kdf string
	noDH4, lastResort            string
	acceptText                   string
	sameSession                  string
	asks, accepts, accepted      string
	offers, offered              string

	ratchetHead, ratchetText       string
	tripleText                     string
	talkHead                       string
	types, reads                   string
	relaySees, relayLine           string
	rootSending, rootReceiving     string
	chainSending, chainReceiving   string
	sealed, opened                 string
	pqSending, pqReceiving         string
	carries                        map[string]string // of the post-quantum ratchet's payloads
	pqEpoch                        string
	skipped, skippedUsed           string
	backHead, backText, talkOnText string

	offlineHead, offlineText, bobLeft, waiting, bobBack string

	safetyHead, safetyText, safetyShows, verified string

	endHead, counters, chunks, relayTotal, searched, bye string

	texts [5]string // that Alice and Bob say

	stopped, wrong string
}

// The languages of the demo.
var scripts = map[string]*script{"en": &english, "zh": &chinese}

// language returns the key of scripts that was asked for, or else that of the
// locale.
func language(asked string) string {
	if asked != "" {
		return asked
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if value := os.Getenv(name); value != "" {
			if strings.HasPrefix(strings.ToLower(value), "zh") {
				return "zh"
			}
			break
		}
	}
	return "en"
}

var english = script{
	title:       "Alice and Bob agree on keys and talk",
	language:    "en",
	preparing:   "Starting a relay, and making keys for Alice and Bob…",
	windowsOpen: "Alice and Bob are ready. Their password is %q; everything is removed at the end. Press Ctrl C to end.",

	intro: "Two people, two encrypted profiles and one relay run inside this program now. They talk over real " +
		"HTTP and WebSocket, and every number below comes from their real sessions. Keys are shown as the " +
		"fingerprints of their public halves, like 1234·ABCD·5678; no secret is ever printed.",

	relayName: "the relay",
	relayHead: "The relay",
	relayText: "A relay keeps public keys for people who are away and passes on sealed envelopes. It has no key " +
		"to any of them. Anyone can run one; this one lives in a temporary folder.",
	relayAt: "listens at %s",

	keysHead: "Two people make keys",
	keysText: "An account is a key pair that is made here and never leaves this computer. The user ID is the " +
		"fingerprint of its public half, so whoever knows the ID can check every other key against it. The " +
		"device then uploads prekeys: public keys that others may use to write to it while it is away.",
	progress: "[%d/%d]  %s",
	userID:   "user ID",
	step: map[string]string{
		"vault":         "an encrypted database, under a password (Argon2id)",
		"account_key":   "the account key (Ed25519)",
		"identity_key":  "the identity key of this device (X25519)",
		"signed_prekey": "a signed prekey (X25519), and a post-quantum one (ML-KEM-1024)",
		"one_time":      "one-time prekeys of both kinds, each for one first message",
		"upload":        "the public halves are at the relay",
	},

	friendHead: "Alice adds Bob by his ID",
	friendText: "Bob gave Alice his ID, on paper or by voice. She asks the relay for his prekeys and checks that " +
		"they are signed by the account that the ID names: the relay cannot slip in keys of its own. Bob is " +
		"not needed for this; he could be asleep.",
	link:      "Bob's link",
	agreeHead: "X3DH with a post-quantum secret (PQXDH)",
	agreeText: "Two people multiply a private key of their own with a public key of the other, and both get the " +
		"same secret (Diffie-Hellman, “DH”). Alice does so four times, with keys of different ages, and adds " +
		"a secret that a quantum computer cannot undo (a “KEM”). All of it together goes through a key " +
		"derivation function; what comes out is the root key of their session.",
	dh1:        "Alice's identity key × Bob's signed prekey",
	dh2:        "Alice's base key × Bob's identity key",
	dh3:        "Alice's base key × Bob's signed prekey",
	dh4:        "Alice's base key × Bob's one-time prekey",
	kem:        "%s, to Bob's KEM prekey",
	kdf:        "of all of them → root key",
	noDH4:      "(no one-time prekey was left: three agreements)",
	lastResort: "(of last resort)",
	acceptText: "Bob gets her first message. It names the keys that she used; with his private halves he computes " +
		"the same secrets the other way round, and erases the one-time keys: that door opens once.",
	sameSession: "Both are in session %s now, and nothing secret has travelled.",
	asks:        "asks Bob to be a contact, in the first message of the new session",
	accepts:     "accepts: an answer, so the ratchet turns for the first time",
	accepted:    "has a contact now",
	offers:      "tells Bob where to see whether she is online: only he can read that, too",
	offered:     "knows where to look now",

	ratchetHead: "The triple ratchet",
	ratchetText: "Each message gets a key of its own. A chain of hashes gives the keys of one side's messages in a " +
		"row and forgets each after use. Whenever the other side answers, a new key pair comes in and the " +
		"root key takes a step: whoever steals all keys today reads nothing of yesterday, and is shut out " +
		"again after the next answer.",
	tripleText: "A third ratchet turns beside, for the day when somebody has a quantum computer: the two take turns at " +
		"making a new post-quantum key (ML-KEM-768). It is too large for one message, so it travels in chunks, " +
		"one in each, in any order; some eighty messages complete an epoch. Every message key is made of both: " +
		"whoever breaks only one ratchet reads nothing.",
	talkHead:       "They talk",
	types:          "%s types",
	reads:          "%s reads",
	relaySees:      "the relay sees",
	relayLine:      "%s → %s, %d bytes",
	rootSending:    "ratchet step %d: a new key pair %s, with the other side's %s → new root key, new sending chain",
	rootReceiving:  "ratchet step %d: the other side's new key %s, with our %s → new root key, new receiving chain",
	chainSending:   "the sending chain gives the key of message %d and moves on",
	chainReceiving: "the receiving chain gives the key of message %d and moves on",
	sealed:         "AES-256-GCM: text padded to %d bytes, %d bytes with header and tag; the key is erased",
	opened:         "AES-256-GCM: the tag is right, %d bytes open; the key is erased",
	pqSending:      "the post-quantum ratchet's sending chain of epoch %d gives key %d, for the message key, too",
	pqReceiving:    "the post-quantum ratchet's receiving chain of epoch %d gives key %d, for the message key, too",
	carries: map[string]string{
		"header":       "carries chunk %d of the header of a new ML-KEM-768 key, for epoch %d",
		"vector":       "carries chunk %d of the ML-KEM-768 key, for epoch %d",
		"vector_ack":   "carries chunk %d of the ML-KEM-768 key, for epoch %d, and: the ciphertext's first part is complete",
		"ack":          "says that the ciphertext's first part is complete, for epoch %d",
		"ciphertext_1": "carries chunk %d of the ciphertext's first part, for epoch %d",
		"ciphertext_2": "carries chunk %d of the ciphertext's second part, for epoch %d",
	},
	pqEpoch:     "the secret of epoch %d is known on this side now: it gives new chains for both directions",
	skipped:     "%d keys of messages that have not come yet are put aside",
	skippedUsed: "message %d came late: its key had been put aside",
	backHead:    "Bob answers",
	backText:    "An answer turns the ratchet: Bob makes a new key pair, Alice learns its public half.",
	talkOnText:  "A second message in a row takes only a step of the chain: no new key pair.",

	offlineHead: "Bob is away",
	offlineText: "Bob closes his computer. Alice writes all the same; the relay keeps the envelope until Bob has it " +
		"safely on disk.",
	bobLeft: "goes offline.",
	waiting: "keeps it for Bob.",
	bobBack: "is back. He unlocked his profile with his password; his session went on from disk.",

	safetyHead: "Is it really Bob?",
	safetyText: "Both see the same number if, and only if, each has the other's true key. They compare it once, " +
		"face to face or on the phone.",
	safetyShows: "%s's screen",
	verified:    "sees that the numbers are the same, and marks Bob verified.",

	endHead:    "What happened",
	counters:   "took %d ratchet steps, encrypted %d messages and opened %d.",
	chunks:     "The post-quantum ratchet is in epoch %d: chunks sent: %d, received: %d of %d.",
	relayTotal: "carried %d envelopes with %d bytes.",
	searched:   "Every byte that it stored was searched for the five texts: found %d times.",
	bye:        "Now do it yourself. README.md builds the two programs and goes on from here, step by step:",

	texts: [5]string{
		"Hello Bob! Only you can read this.",
		"Hello Alice! The relay has no idea what we say.",
		"And this one has a key of its own.",
		"Are you there? This waits for you.",
		"I am back, and nothing was lost.",
	},

	stopped: "the relay does not answer any more: the conversation cannot go on",
	wrong:   "the two sides do not agree: %s",
}

var chinese = script{
	title:       "Alice 和 Bob 协商密钥并开始聊天",
	language:    "zh",
	preparing:   "正在启动中继服务器，并为 Alice 和 Bob 生成密钥……",
	windowsOpen: "Alice 和 Bob 已就绪，密码都是 %q；结束后所有内容都会删除。按 Ctrl C 结束。",

	intro: "现在，两个人、两份加密的资料和一台中继服务器都在这个程序里运行。他们通过真实的 HTTP 和 WebSocket 通信，" +
		"下面的每个数字都来自真实的会话。密钥只以公钥指纹的形式显示，例如 1234·ABCD·5678；任何秘密都不会被打印出来。",

	relayName: "中继",
	relayHead: "中继服务器",
	relayText: "中继服务器替不在线的人保管公钥，并转交密封的信封。它没有任何一把能打开信封的钥匙。" +
		"谁都可以架设一台；这一台住在一个临时文件夹里。",
	relayAt: "监听 %s",

	keysHead: "两个人生成密钥",
	keysText: "账户就是一对密钥，在本机生成，私钥从不离开这台电脑。用户 ID 是账户公钥的指纹，" +
		"所以知道 ID 的人可以核对其余所有密钥。随后设备上传预密钥：别人可以用这些公钥在它离线时给它写信。",
	progress: "[%d/%d]  %s",
	userID:   "用户 ID",
	step: map[string]string{
		"vault":         "加密数据库，由本人的密码保护（Argon2id）",
		"account_key":   "账户密钥（Ed25519）",
		"identity_key":  "本设备的身份密钥（X25519）",
		"signed_prekey": "已签名预密钥（X25519）和后量子预密钥（ML-KEM-1024）",
		"one_time":      "两种一次性预密钥，每个只用于一条首次消息",
		"upload":        "公钥部分已上传到中继服务器",
	},

	friendHead: "Alice 用 ID 添加 Bob",
	friendText: "Bob 把自己的 ID 写在纸上或亲口告诉了 Alice。她向中继服务器索取 Bob 的预密钥，并检查它们是否由该 ID " +
		"对应的账户签名：中继服务器无法偷换成自己的密钥。这一步不需要 Bob 在场，他可以正在睡觉。",
	link:      "Bob 的链接",
	agreeHead: "X3DH 加上后量子秘密（PQXDH）",
	agreeText: "两个人各用自己的私钥和对方的公钥相乘，会得到同一个秘密（Diffie-Hellman，“DH”）。Alice 用新旧不同的密钥做四次，" +
		"再加上一个量子计算机也解不开的秘密（“KEM”）。所有这些一起送入密钥派生函数，得到的就是会话的根密钥。",
	dh1:        "Alice 的身份密钥 × Bob 的已签名预密钥",
	dh2:        "Alice 的基础密钥 × Bob 的身份密钥",
	dh3:        "Alice 的基础密钥 × Bob 的已签名预密钥",
	dh4:        "Alice 的基础密钥 × Bob 的一次性预密钥",
	kem:        "%s，针对 Bob 的 KEM 预密钥",
	kdf:        "以上全部 → 根密钥",
	noDH4:      "（一次性预密钥已用完：只做三次协商）",
	lastResort: "（最后备用）",
	acceptText: "Bob 收到她的第一条消息，里面写明她用了哪些公钥；他用自己的私钥反过来算出同样的秘密，" +
		"然后销毁一次性密钥：这扇门只开一次。",
	sameSession: "双方现在处于同一个会话 %s，而没有任何秘密在网络上传输过。",
	asks:        "请求成为联系人，这是新会话的第一条消息",
	accepts:     "接受请求：这是一次回复，棘轮第一次转动",
	accepted:    "从现在起有了一位联系人",
	offers:      "告诉 Bob 在哪里能看到她是否在线：这也只有他能读到",
	offered:     "知道该去哪里看了",

	ratchetHead: "三重棘轮",
	ratchetText: "每条消息都有自己的密钥。一条哈希链依次给出一方各条消息的密钥，用完即忘。每当对方回复，" +
		"就有一对新密钥加入，根密钥前进一步：今天偷走全部密钥的人，读不到昨天的内容，并且在下一次回复之后又被关在门外。",
	tripleText: "旁边还有第三个棘轮在转，为有人拥有量子计算机的那一天做准备：双方轮流生成新的后量子密钥（ML-KEM-768）。" +
		"它太大，一条消息装不下，所以分成许多小块，每条消息带一块，先后顺序无所谓；大约八十条消息完成一个周期。" +
		"每个消息密钥都由两个棘轮共同产生：只攻破其中一个的人什么也读不到。",
	talkHead:       "开始聊天",
	types:          "%s 输入",
	reads:          "%s 读到",
	relaySees:      "中继看到",
	relayLine:      "%s → %s，%d 字节",
	rootSending:    "棘轮第 %d 步：新密钥对 %s，与对方的 %s → 新的根密钥和发送链",
	rootReceiving:  "棘轮第 %d 步：对方的新公钥 %s，与我方的 %s → 新的根密钥和接收链",
	chainSending:   "发送链给出第 %d 条消息的密钥，并前进一步",
	chainReceiving: "接收链给出第 %d 条消息的密钥，并前进一步",
	sealed:         "AES-256-GCM：文字填充到 %d 字节，加上头部和认证标签共 %d 字节；密钥随即销毁",
	opened:         "AES-256-GCM：认证标签正确，解出 %d 字节；密钥随即销毁",
	pqSending:      "后量子棘轮第 %d 周期的发送链给出第 %d 个密钥，一同用于消息密钥",
	pqReceiving:    "后量子棘轮第 %d 周期的接收链给出第 %d 个密钥，一同用于消息密钥",
	carries: map[string]string{
		"header":       "携带新 ML-KEM-768 公钥头部的第 %d 块，属于第 %d 周期",
		"vector":       "携带 ML-KEM-768 公钥的第 %d 块，属于第 %d 周期",
		"vector_ack":   "携带 ML-KEM-768 公钥的第 %d 块，属于第 %d 周期，并告知：密文前半部分已齐",
		"ack":          "告知密文前半部分已齐，属于第 %d 周期",
		"ciphertext_1": "携带密文前半部分的第 %d 块，属于第 %d 周期",
		"ciphertext_2": "携带密文后半部分的第 %d 块，属于第 %d 周期",
	},
	pqEpoch:     "这一边已经得到第 %d 周期的秘密：它为两个方向给出新的链",
	skipped:     "尚未到达的 %d 条消息的密钥先放在一边",
	skippedUsed: "第 %d 条消息迟到：它的密钥早已放在一边",
	backHead:    "Bob 回复",
	backText:    "回复会转动棘轮：Bob 生成一对新密钥，Alice 得知其公钥。",
	talkOnText:  "同一方连续的第二条消息只让链前进一步，不需要新的密钥对。",

	offlineHead: "Bob 不在线",
	offlineText: "Bob 关上了电脑。Alice 照样写信；中继服务器保管信封，直到 Bob 把它安全地写入磁盘。",
	bobLeft:     "已离线。",
	waiting:     "替 Bob 保管着它。",
	bobBack:     "回来了。他用密码解锁了自己的资料，会话从磁盘上继续。",

	safetyHead: "真的是 Bob 吗？",
	safetyText: "当且仅当双方都持有对方真正的密钥时，两人看到的数字才相同。只需当面或在电话里核对一次。",

	safetyShows: "%s 的屏幕",
	verified:    "看到数字相同，将 Bob 标记为已验证。",

	endHead:    "回顾",
	counters:   "棘轮走了 %d 步，加密 %d 条消息，解开 %d 条。",
	chunks:     "后量子棘轮处于第 %d 周期：已发送 %d 块，已收到 %d/%d 块。",
	relayTotal: "转交了 %d 个信封，共 %d 字节。",
	searched:   "在它存储的每个字节里搜索这五句话：找到 %d 处。",
	bye:        "现在自己试试。README-zh.md 教你编译这两个程序，并从这里一步一步继续：",

	texts: [5]string{
		"你好 Bob！只有你能读到这句话。",
		"你好 Alice！中继服务器完全不知道我们在说什么。",
		"这一条有它自己的密钥。",
		"你在吗？这句话会等着你。",
		"我回来了，什么都没有丢。",
	},

	stopped: "中继服务器不再响应：对话无法继续",
	wrong:   "双方不一致：%s",
}
