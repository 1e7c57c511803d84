#!/bin/sh
# Extern names that two objects of the static library define: symbols.sh LIBRARY. Which of
# them a program gets would depend on who asks first.
set -eu
nm -A -g --defined-only "$1" | awk '
	{ split($0, part, ":"); where[$NF] = where[$NF] " " part[2]; n[$NF]++ }
	END { for (name in n) if (n[name] > 1) { print name " is defined in" where[name]; bad = 1 } exit bad }'
