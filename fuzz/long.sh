#!/usr/bin/env bash
# The long run: all that the column "long" of README.md promises, in parts that may run on
# different days.
#
#	fuzz/long.sh LOG                  # every part that LOG does not have yet
#	fuzz/long.sh LOG crash-1 mutants  # those named
#	fuzz/long.sh LOG -l               # name the parts
#
# Each part adds to LOG its command, the commit, what it printed last and what it took;
# a line that begins with "ok" says that it passed. What a part has shown holds as long as
# the code of the log stays as it is. The power cuts need root, and are parts of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ $# -ge 1 ] || { echo "usage: $0 LOG [PART…]" >&2; exit 2; }
log=$(realpath -m "$1"); shift

readonly crashes=8                        # parts of the states of a crash, each 1,250,000
readonly codecs='FuzzFrameDecode FuzzGroupDecode FuzzSegmentHeader FuzzFront FuzzIndexDecode FuzzDifferential'
readonly directories='FuzzOpenDir FuzzRecoverStructured FuzzOpScript FuzzCrashScript FuzzReaderTail'
readonly disks='ext4-ordered ext4-writeback ext4-journal ext4-no-journal xfs'

parts() {
	local i
	echo faults; echo lost-syncs; echo nested; echo direct; echo kills; echo mutants # soon done
	for i in $directories; do echo "fuzz-$i"; done
	for ((i = 1; i <= crashes; i++)); do echo "crash-$i"; done
	for i in $disks; do echo "power-$i"; done
	for i in $codecs; do echo "fuzz-$i"; done
	echo soak
}

# command prints what a part runs.
command() {
	local long='-count=1 -timeout 0 -v -scale long' # behind the package, since go test does not know the last
	case $1 in
	crash-*) echo "go test ./fuzz $long -run EveryCrashState -states 1250000 -part ${1#*-}/$crashes" ;;
	nested) echo "go test ./fuzz $long -run RecoveryMayCrash -nested 1000000" ;;
	direct) echo "go test ./fuzz $long -run DirectWrites" ;;
	faults) echo "go test ./wal $long -run EveryFailingCall" ;;
	lost-syncs) echo "go test ./wal $long -run WhatOpenHandsOut" ;;
	kills) echo "go test ./fuzz/kill $long -run KilledProcesses" ;;
	mutants) echo 'go run ./fuzz/mutants' ;;
	power-*) echo "go test ./fuzz/kill -count=1 -timeout 0 -v -run PowerCutLosesNothing -powercut -cuts 500 -powerfs ${1#*-}" ;;
	soak) echo 'go run ./fuzz/soak -for 2h' ;;
	fuzz-FuzzDifferential) echo 'fuzz/run-targets.sh 1000000x FuzzDifferential' ;;
	fuzz-*)
		local target=${1#*-}
		case " $directories " in
		*" $target "*) # 1,000,000 executions and 20 minutes of CPU
			local least=13m
			case $target in FuzzReaderTail | FuzzCrashScript) least=1000000x ;; esac
			echo "fuzz/run-targets.sh $least $target" ;;
		*) # with those above 10^8 in all; each takes a quarter of an hour or so
			local least=20000000x
			case $target in FuzzSegmentHeader) least=24000000x ;; FuzzIndexDecode) least=8000000x ;; esac
			echo "fuzz/run-targets.sh $least $target" ;;
		esac ;;
	*) echo "no such part: $1" >&2; return 1 ;;
	esac
}

# cpu prints the seconds of CPU time that all parts took so far.
cpu() {
	local stat
	stat=$(</proc/$$/stat)
	# shellcheck disable=SC2086
	set -- ${stat##*) }
	echo $(((${14} + ${15}) / $(getconf CLK_TCK)))
}

if [ "${1:-}" = -l ]; then
	parts
	exit
fi
if [ $# -eq 0 ]; then
	mapfile -t todo < <(parts | { grep -vxFf <(sed -n 's/^ok \([^ ]*\).*/\1/p' "$log" 2>/dev/null) || true; })
	set -- "${todo[@]}"
fi
commit=$(git rev-parse --short HEAD)
git diff --quiet HEAD || commit+=', changed'
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for part in "$@"; do
	cmd=$(command "$part")
	began=$SECONDS used=$(cpu) status=ok
	printf '\n-- %s: commit %s, %s\n$ %s\n' "$part" "$commit" "$(date -u '+%F %T')" "$cmd" >>"$log"
	$cmd >"$out" 2>&1 || status=FAILED
	lines=12
	[ $status = ok ] || lines=200
	grep -av '^=== \|^ *--- PASS' "$out" | tail -n $lines | cut -c1-2000 >>"$log"
	printf '%s %s after %d s, %d s of CPU\n' $status "$part" $((SECONDS - began)) $(($(cpu) - used)) | tee -a "$log"
done
