#!/bin/sh
# Recorded behaviour of kube-proxy against our own: run_cases.sh [--build=DIR] [--only=TEXT] [DIR|FILE]...
# DIR is a folder of families (flows*, topology, slices, ...), one family, or a folder
# in one. Packet families go through tests/judge, the others through $build/caserun.
# --only: packet documents whose path contains TEXT, and of the other families all.
# Needs root. Last line: the plain count.
set -eu

here=$(dirname "$0")
build=build
only=
jobs=$(nproc 2>/dev/null || echo 1)
while [ $# -gt 0 ]; do
	case $1 in
	--build=*) build=${1#*=} ;;
	--only=*) only=${1#*=} ;;
	-*) echo "usage: $0 [--build=DIR] [--only=TEXT] [DIR|FILE]..." >&2; exit 2 ;;
	*) break ;;
	esac
	shift
done
if [ $# = 0 ]; then
	set -- "$here/cases"
	[ ! -d "$here/../../shared/data/kube-proxy-cases" ] || set -- "$@" "$here/../../shared/data/kube-proxy-cases"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/cases.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0
judged=

# The family a path belongs to: the name of the nearest folder above (or at) it that is one.
family_of() {
	path=$(realpath "$1")
	while [ "$path" != / ]; do
		case ${path##*/} in
		flows*|topology|slices|services|nodeport-addresses|conntrack|health|config|metrics|runner)
			echo "${path##*/}"
			return ;;
		esac
		path=$(dirname "$path")
	done
}

# Show what a runner printed, indented, and add up its count (its last line). What ends badly
# though nothing failed, as after a sanitizer's finding, is one failure.
count() {
	sed '/^SKIP /!s/^/  /' "$work/out"
	what=$1
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$work/out" | tail -n 1)
	if [ -z "$line" ]; then
		echo "FAIL $what: no count"
		failed=$((failed + 1))
		return
	fi
	# shellcheck disable=SC2086
	set -- $line
	passed=$((passed + $1)) failed=$((failed + $3)) skipped=$((skipped + $5))
	if [ "$3" = 0 ] && [ "$status" != 0 ]; then
		echo "FAIL $what: exit status $status"
		failed=$((failed + 1))
	fi
}

run_flows() {
	# Our copy of the generated flows and the recorded ones beside the checkout are the same.
	for before in $judged; do
		if [ -d "$1" ] && diff -rq "$before" "$1" >/dev/null 2>&1; then
			echo "packets: $1: same as $before"
			return
		fi
	done
	judged="$judged $1"
	for way in nftables: iptables:nft iptables:legacy; do
		mode=${way%:*}
		sample=
		# A sample of the generated ones has to reach the same endpoints in the other mode.
		if ! grep -rqE "\"mode\": *\"$mode\"" "$1"; then
			[ "$mode$only" = iptables ] || continue
			sample="--translated --every 6"
		fi
		echo "packets: $1 ($way)"
		status=0
		# shellcheck disable=SC2086
		python3 -B "$here/judge/judge.py" --agent "$build/proxylet" -j "$jobs" --only "$only" \
			$sample --mode "$mode" --variant "${way#*:}" "$1" >"$work/out" 2>&1 || status=$?
		# A sample need not touch every folder.
		[ -z "$only$sample" ] || ! grep -q '^0 documents' "$work/out" || continue
		count "$1 ($way)"
	done
}

# caserun wants a folder that holds family folders, so each is given one of links.
run_code() {
	echo "code: $2"
	folder=$(mktemp -d "$work/family.XXXXXX")
	if [ -d "$2" ]; then
		ln -s "$(realpath "$2")" "$folder/$1"
	else
		sub=$(basename "$(dirname "$(realpath "$2")")")
		mkdir -p "$folder/$1/$sub"
		ln -s "$(realpath "$2")" "$folder/$1/$sub/"
	fi
	status=0
	"$build/caserun" "$folder" >"$work/out" 2>&1 || status=$?
	sed -i -e "s|^skipped \([0-9]*\): \(.*\)|SKIP $1: \2 (\1 cases)|" -e "s|$folder|$(dirname "$2")|" "$work/out"
	count "$2"
}

skip_family() {
	n=$(find -L "$2" -name '*.json' | wc -l)
	echo "SKIP $(basename "$1"): $3 ($n documents)"
	skipped=$((skipped + n))
}

run_family() {
	case $1 in
	flows*) run_flows "$2" ;;
	runner) skip_family "$1" "$2" "kube-proxy's own sync scheduler, ours has other rules" ;;
	*) run_code "$1" "$2" ;;
	esac
}

for path in "$@"; do
	if [ ! -e "$path" ]; then
		echo "FAIL $path: no such file or folder"
		failed=$((failed + 1))
		continue
	fi
	family=$(family_of "$path")
	if [ -n "$family" ]; then
		run_family "$family" "$path"
		continue
	fi
	for folder in "$path"/*/; do
		folder=${folder%/}
		family=$(family_of "$folder")
		[ -z "$family" ] || run_family "$family" "$folder"
	done
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
