module github.com/chate2e/chate2e

go 1.26.0

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)
