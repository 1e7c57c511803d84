#!/bin/sh
# No file over 800 lines; half of all functions at most 20. In this style a function's
# body opens and closes with a brace in the first column, so its lines are easily counted.
# Works on the current folder.
set -eu
max_file=800
max_median=20
bad=0

for file in $(find proxy nft healthz tests deploy -name '*.[ch]' -o -name '*.py' -o -name '*.sh' 2>/dev/null); do
	lines=$(wc -l <"$file")
	[ "$lines" -le $max_file ] || { echo "$file: $lines lines, more than $max_file"; bad=1; }
done

lengths=$(find proxy nft healthz -name '*.c' -exec awk '
	/^{/ { start = FNR }
	/^}/ { if (start) print FNR - start - 1; start = 0 }' {} + | sort -n)
n=$(echo "$lengths" | wc -l)
median=$(echo "$lengths" | sed -n "$(((n + 1) / 2))p")
ninth=$(echo "$lengths" | sed -n "$(((n * 9 + 9) / 10))p")
echo "$n functions, median ${median:-0} lines, nine in ten at most ${ninth:-0}, longest $(echo "$lengths" | tail -n 1)"
[ "${median:-0}" -le $max_median ] || { echo "the median function has more than $max_median lines"; bad=1; }
exit $bad
