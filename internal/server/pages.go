package server

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// The page of /add. It has no script: what comes after # in the link stays with
// the person who opened it.
const addStyle = `body{font:16px/1.6 system-ui,sans-serif;max-width:38em;margin:3em auto;padding:0 1em;color:#1d2429;background:#fff}code{background:#eef1f3;padding:.1em .3em;border-radius:4px}h1{font-size:1.4em}hr{border:0;border-top:1px solid #d9dfe3;margin:2.5em 0}@media(prefers-color-scheme:dark){body{color:#e4e8eb;background:#15191c}code{background:#262d32}hr{border-color:#2c343a}}`

const addPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>ChatE2E</title>
<style>` + addStyle + `</style>
<h1>This link is for ChatE2E</h1>
<p>ChatE2E is an end-to-end encrypted messenger. The part of the link after <code>#</code> was not sent to this server.</p>
<p><strong>A contact.</strong> To add the person the link is about, copy the whole link and use <em>Add contact</em>, or run<br>
<code>chate2e contacts add "LINK"</code></p>
<p><strong>An invitation</strong> (it says <code>#invite=</code>). To make an account here, copy the whole link and run<br>
<code>chate2e --server "LINK" register NAME</code></p>
<hr>
<div lang="zh">
<h1>此链接用于 ChatE2E</h1>
<p>ChatE2E 是端到端加密的聊天软件。链接中 <code>#</code> 之后的部分没有发送给此服务器。</p>
<p><strong>联系人：</strong>复制完整链接，用“添加联系人”，或运行<br>
<code>chate2e contacts add "LINK"</code></p>
<p><strong>邀请</strong>（含有 <code>#invite=</code>）：要在此注册帐号，复制完整链接并运行<br>
<code>chate2e --server "LINK" register NAME</code></p>
</div>
`

var addPolicy = func() string {
	hash := sha256.Sum256([]byte(addStyle))
	return strings.Join([]string{
		"default-src 'none'",
		"style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, "; ")
}()

func serveAdd(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(addPage)))
	h.Set("Content-Security-Policy", addPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write([]byte(addPage)) // the client has gone; there is nobody to tell
}

// serveDescription builds the description when it is first asked for.
func serveDescription() http.HandlerFunc {
	description := sync.OnceValue(descriptionJSON)
	return func(w http.ResponseWriter, _ *http.Request) {
		b := description()
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = w.Write(b) // the client has gone; there is nobody to tell
	}
}
