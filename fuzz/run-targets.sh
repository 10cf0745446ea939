#!/usr/bin/env bash
# Runs fuzz targets one after the other, each for the given time:
#
#	fuzz/run-targets.sh 15s                # all
#	fuzz/run-targets.sh 10m FuzzOpenDir    # those named
#
# It prints a line for each: executions, how many a second, and inputs that reached
# something new. An input that fails is copied to fuzz/testdata/fuzz/TARGET by go test,
# and to $CRASHERS if that is set; the others are kept in $(go env GOCACHE)/fuzz. The
# exit code is 1 if any target failed. PARALLEL is the number of workers; 2. own.sh has
# the fuzzer follow the code of this module alone: twice as many executions a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

[ $# -ge 1 ] || { echo "usage: $0 DURATION [TARGET…]" >&2; exit 2; }
readonly duration=$1; shift
readonly parallel=${PARALLEL:-2}
readonly crashers=${CRASHERS:-}
export GOGC=${GOGC:-1000}   # an input takes some microseconds, and little memory: half as many again a second

if [ $# -eq 0 ]; then
	mapfile -t targets < <(go test -list '^Fuzz' . | grep '^Fuzz')
	[ ${#targets[@]} -ge 10 ] || { echo "only ${#targets[@]} targets are listed" >&2; exit 1; }
	set -- "${targets[@]}"
fi

out=$(mktemp)
trap 'rm -f "$out"' EXIT
failed=0 total=0
for target in "$@"; do
	# The minimiser may take a minute for a single input; 1x does without.
	# 'context deadline exceeded' is how go test may end when the time is over while an
	# input runs (golang.org/issue/75804): no failure if it names no input.
	if ! go test -toolexec "$PWD/own.sh" -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 1x -timeout 0 -parallel "$parallel" . >"$out" 2>&1 &&
		{ grep -q 'Failing input\|panic:\|hung or terminated' "$out" || ! grep -q '^ *context deadline exceeded$' "$out"; }; then
		failed=1
		printf '%-22s FAILED\n' "$target"
		cut -c1-2000 "$out" >&2
		input=$(sed -n 's/.*Failing input written to \(.*\)/\1/p' "$out" | head -n 1)
		if [ -n "$crashers" ] && [ -f "$input" ]; then
			mkdir -p "$crashers/$target"
			cp "$input" "$crashers/$target/"
		fi
		continue
	fi
	last=$(grep -o 'execs: .*' "$out" | tail -n 1 || true)
	execs=$(sed -n 's/execs: \([0-9]*\).*/\1/p' <<<"$last")
	new=$(sed -n 's/.*new interesting: \([0-9]*\).*/\1/p' <<<"$last")
	if [ -z "$execs" ] || [ "$execs" -eq 0 ]; then
		failed=1
		printf '%-22s FAILED: it executed nothing\n' "$target"
		cut -c1-2000 "$out" >&2
		continue
	fi
	took=$(sed -n 's/^fuzz: elapsed: \([0-9hms]*\), execs.*/\1/p' "$out" | tail -n 1 |
		awk '{ n = 0; s = 0; for (i = 1; i <= length($0); i++) { c = substr($0, i, 1)
			if (c ~ /[0-9]/) n = 10 * n + c; else { s += n * (c == "h" ? 3600 : c == "m" ? 60 : 1); n = 0 } } print s }')
	total=$((total + execs))
	printf '%-22s %10d executions %7d/s %6d new inputs\n' "$target" "$execs" $((execs / (took > 0 ? took : 1))) "$new"
done
printf '%-22s %10d executions\n' "in all" "$total"
exit $failed
