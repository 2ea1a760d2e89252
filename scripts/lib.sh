# What the scripts beside this file have in common; sourced, not run.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

# A checkout that belongs to another user, or that is no repository at all, has
# no version to stamp; tests need none.
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"

# about prints what the head of the script that runs says of it.
about() { sed -n '2,/^set/s/^# \{0,1\}//p' "scripts/${0##*/}"; }

# tool NAME ARG… runs a tool of tools/go.mod. Go builds it once and caches it.
tool() { go tool -modfile="$root/tools/go.mod" "$@"; }

# golangci_lint prints the path of the linter of tools/lint/go.mod, which it
# builds first unless this user has it already.
golangci_lint() {
	local version dir path
	version=$(go -C tools/lint list -m -f '{{.Version}}' github.com/golangci/golangci-lint/v2)
	dir="${XDG_CACHE_HOME:-$HOME/.cache}/chate2e/bin"
	path="$dir/golangci-lint-${version#v}-$(go env GOVERSION)"
	if [ ! -x "$path" ]; then
		echo "building golangci-lint $version, once" >&2
		mkdir -p "$dir"
		go -C tools/lint build -o "$path.$$" github.com/golangci/golangci-lint/v2/cmd/golangci-lint
		mv "$path.$$" "$path"
	fi
	echo "$path"
}

# go_files PATTERN lists the project's own Go files that have a matching line.
go_files() {
	grep -rlE --include='*.go' --exclude-dir=node_modules --exclude-dir=testdata --exclude-dir=tools \
		--exclude-dir=.git -e "$1" . | LC_ALL=C sort || true
}

# go_dirs PATTERN lists the folders of those files, each once.
go_dirs() { go_files "$1" | sed 's|/[^/]*$||' | LC_ALL=C sort -u; }
