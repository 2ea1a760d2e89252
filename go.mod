module github.com/chate2e/chate2e

go 1.26.0

require github.com/google/go-cmp v0.7.0
