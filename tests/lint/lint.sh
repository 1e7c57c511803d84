#!/bin/sh
# make lint: every reader of the code that is not a compiler. lint.sh LIBRARY; runs from the top of the tree.
set -u
library=$(realpath "$1")
cd "$(dirname "$0")/../.." || exit 1
failed=
sources=$(find proxy nft healthz -name '*.c' | sort)
scripts=$(find tests deploy .ci -name '*.sh' -o -path '.ci/run' | sort)
python=$(find tests deploy -name '*.py' | sort)

step() {
	name=$1
	shift
	began=$(date +%s)
	if "$@"; then result=ok; else result=FAIL failed="$failed $name"; fi
	printf '  %-4s  %s (%d s)\n' "$result" "$name" "$(($(date +%s) - began))"
}

# Leaks, and values that only a cleanup function reads, are judged by LeakSanitizer and valgrind, not here: cppcheck 2.10 and clang 14
# do not follow __attribute__((cleanup)) and would complain about correct code.
tidy_checks='-*,bugprone-*,clang-analyzer-*,-clang-analyzer-unix.Malloc,-bugprone-easily-swappable-parameters'
tidy_checks="$tidy_checks,-clang-analyzer-security.insecureAPI.*,-bugprone-assignment-in-if-condition"
# Three that are wrong more often than right here: arrays of pointers, char arithmetic, small products.
tidy_checks="$tidy_checks,-bugprone-sizeof-expression,-bugprone-narrowing-conversions"
tidy_checks="$tidy_checks,-bugprone-implicit-widening-of-multiplication-result"
tidy_checks="$tidy_checks,-clang-analyzer-deadcode.DeadStores,-clang-analyzer-optin.performance.Padding"

tidy() {
	# clang-tidy counts suppressed warnings of system headers on stderr; findings are on stdout.
	echo "$sources" | xargs -P "$(nproc)" -I{} clang-tidy --quiet --warnings-as-errors='*' \
		--checks="$tidy_checks" {} -- -std=gnu11 -D_GNU_SOURCE -DKP_VERSION='"lint"' -DKP_SANITIZED=0 -I. 2>/dev/null
}

compiles() {
	# shellcheck disable=SC2086
	[ -z "$python" ] || python3 -B -c 'import sys
for f in sys.argv[1:]:
    compile(open(f).read(), f, "exec")' $python
}

# style: advice about spacing is not wanted; everything above is
manual() {
	out=$(mandoc -Tlint -Wwarning proxy/*.[58]) || { echo "$out"; return 1; }
}

step "the house-made checks find what is planted" sh tests/lint/selftest.sh
step "include rule" sh tests/lint/includes.sh
step "banned calls" sh tests/lint/banned.sh
step "sizes" sh tests/lint/size.sh
step "names defined twice" sh tests/lint/symbols.sh "$library"
# SC2044, SC2013: no path in this tree has blanks in it
# shellcheck disable=SC2086
step shellcheck shellcheck -e SC2044,SC2013 $scripts
step "python compiles" compiles
step "manual pages" manual
step cppcheck sh tests/lint/cppcheck.sh
step clang-tidy tidy
[ -z "$failed" ] || { echo "lint failed:$failed"; exit 1; }
