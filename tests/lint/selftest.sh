#!/bin/sh
# The house-made checks against planted violations: each has to be found, and a
# clean tree has to pass.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d "${TMPDIR:-/tmp}/lint.XXXXXX")
trap 'rm -rf "$tree"' EXIT
cd "$tree"
bad=0

# plant CHECK TEXT FILE LINE...: with LINE in FILE, CHECK fails and names TEXT.
plant() {
	check=$1 text=$2 file=$3
	shift 3
	mkdir -p "$(dirname "$file")"
	printf '%s\n' "$@" >"$file"
	if out=$(sh "$here/$check.sh" 2>&1); then
		echo "selftest: $check.sh passed '$text' in $file"
		bad=1
	elif ! echo "$out" | grep -qF "$text"; then
		echo "selftest: $check.sh failed without naming '$text': $out"
		bad=1
	fi
	rm -f "$file"
}

# clean CHECK: what stands in the tree now passes.
clean() {
	out=$(sh "$here/$1.sh" 2>&1) || { echo "selftest: $1.sh fails a clean tree: $out"; bad=1; }
}

mkdir -p proxy/base proxy/model nft healthz tests deploy
cat >proxy/base/ok.c <<'END'
#include "proxy/base/ok.h"

/* strcpy(a, b) in a comment,
 * malloc(3) on its second line */
static int f(struct s *s)
{
	s->exit(0);	/* a member */
	return g("sprintf(x)") + kp_malloc(1) + '"' + '(';
}
END
for check in includes banned size cppcheck; do clean $check; done

plant includes "nft/x.c" nft/x.c '#include "proxy/model/model.h"'
plant includes "proxy/base/x.c" proxy/base/x.c '#include "proxy/plan/plan.h"'
plant includes "healthz/x.h" healthz/x.h '#include "nft/txn.h"'
plant includes "no rule for folder" proxy/other/x.c 'int x;'
plant banned "strcpy()" proxy/model/x.c '	strcpy(a, b);'
plant banned "proxy/model/x.c:2: sprintf()" proxy/model/x.c '/* one */' '	n = sprintf (a, "x");'
plant banned "malloc()" nft/x.c '	/* why */ p = malloc(3);'
plant banned "exit()" healthz/x.c '	die("\"x"); exit(1);'
plant banned "system()" proxy/x.c '	system(s);'
plant banned "atoi()" proxy/x.c '	return -atoi(s);'
plant cppcheck "nullPointer" proxy/model/x.c 'int f(void) { int *p = 0; return *p; }'
# shellcheck disable=SC2046
plant size "more than 800" proxy/model/x.c $(seq 801)
# shellcheck disable=SC2046
plant size "median function" proxy/base/ok.c '{' $(seq 30) '}'

echo 'int kp_twice, kp_once;' >one.c
echo 'int kp_twice = 1;' >two.c
${CC:-cc} -c one.c two.c && ar rcs both.a one.o two.o && ar rcs one.a one.o
if [ "$(sh "$here/symbols.sh" both.a)" != "kp_twice is defined in one.o two.o" ]; then
	echo "selftest: symbols.sh does not find a name that is defined twice"
	bad=1
fi
sh "$here/symbols.sh" one.a || { echo "selftest: symbols.sh fails a library without such a name"; bad=1; }
exit $bad
