module github.com/chate2e/chate2e

// Some npm packages bring Go files along.
ignore node_modules

go 1.26.0

require filippo.io/edwards25519 v1.2.0
