#!/usr/bin/env bash
# Runs the tests of the format where integers are of another size or order than on the
# machine that they are written on: `bash fuzz/arch.sh [386|s390x|ppc64]...`. It is no part of `go test`: for a
# foreign processor it needs its emulator of users' programs (Debian: apt-get install
# qemu-user-static), and fails without one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly packages='index segment recovery fuzz/refdecoder'

fail() { printf 'arch: %s\n' "$*" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run builds the tests for GOARCH $1 and runs them under the emulator $2, or as they are
# if it is "".
run() {
	local arch=$1 emulator=$2 pkg
	if [ -n "$emulator" ] && ! command -v "$emulator" >/dev/null; then
		fail "$arch needs $emulator, which is not here (Debian: qemu-user-static)"
	fi
	for pkg in $packages fuzz; do
		printf '== %4ds  %s %s\n' "$SECONDS" "$arch" "$pkg"
		GOARCH=$arch CGO_ENABLED=0 go test -c -o "$work/$arch.test" "./$pkg"
		local filter=. scale=''
		[ "$pkg" = fuzz ] && scale='-scale quick' && filter='^(TestGoldenLogsAreReadForEver|TestOptionCorporaAreWhatTheySay|TestCorpusHasEveryKind|TestOpenedLogsAgreeWithTheSecondDecoder)$'
		(cd "$pkg" && $emulator "$work/$arch.test" -test.run "$filter" -test.timeout 20m $scale) || fail "$arch: $pkg"
	done
}

for arch in "${@:-386 s390x ppc64}"; do
	for arch in $arch; do
		case $arch in
		386) run 386 '' ;; # 32 bits
		s390x) run s390x qemu-s390x-static ;; # big-endian
		ppc64) run ppc64 qemu-ppc64-static ;; # big-endian, and pages of 64 KiB
		*) fail "no such processor: $arch" ;;
		esac
	done
done
printf '== %4ds  all of it holds\n' "$SECONDS"
