module github.com/chate2e/chate2e

go 1.26.0
