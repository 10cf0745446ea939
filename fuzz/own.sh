#!/usr/bin/env bash
# Runs a tool for go test -fuzz -toolexec, and has the compiler instrument the packages of
# this module alone: the fuzzer follows what they do. By itself go test has it follow all
# that is linked, net/http among it, and look through 32 KiB of counters after each input.
set -euo pipefail

if [[ ${TOOLEXEC_IMPORTPATH:-} != github.com/seed3918b8df/tidemark/* ]]; then
	args=()
	for arg; do [ "$arg" = -d=libfuzzer ] || args+=("$arg"); done
	set -- "${args[@]}"
fi
if [ "${*: -1}" = -V=full ]; then # what it says is a part of the keys of go's cache
	"$@" | sed 's/$/ own.sh/'
else
	exec "$@"
fi
