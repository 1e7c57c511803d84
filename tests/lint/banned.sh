#!/bin/sh
# Calls that do not belong into this code, and where the exceptions are. Comments
# and string literals are not code. Works on proxy/ nft/ healthz/ below the current folder.
set -eu

# The calls in one file, as FILE:LINE:NAME.
calls() {
	awk -v file="$1" '
	{
		line = $0
		gsub(/\\./, "", line)			# escapes would hide the end of a literal
		gsub(/"[^"]*"/, "\"\"", line)
		gsub(/\047[^\047]*\047/, "0", line)
		if (comment) {
			if (!match(line, /\*\//)) next
			line = substr(line, RSTART + 2)
			comment = 0
		}
		while (match(line, /\/\*([^*]|\*+[^*\/])*\*+\//))
			line = substr(line, 1, RSTART - 1) " " substr(line, RSTART + RLENGTH)
		if (match(line, /\/\*/)) {
			line = substr(line, 1, RSTART - 1)
			comment = 1
		}
		sub(/\/\/.*/, "", line)
		while (match(line, /[A-Za-z_][A-Za-z_0-9]*[ \t]*\(/)) {
			name = substr(line, RSTART, RLENGTH - 1)
			sub(/[ \t]+$/, "", name)
			before = RSTART > 1 ? substr(line, RSTART - 1, 1) : ""
			# x->free(), x.exit(): members of ours
			if (before != "." && before != ">")
				print file ":" FNR ":" name
			line = substr(line, RSTART + RLENGTH)
		}
	}' "$1"
}

bad=0
for file in $(find proxy nft healthz -name '*.[ch]' | sort); do
	for call in $(calls "$file"); do
		why=
		case ${call##*:} in
		strcpy|strcat|stpcpy|sprintf|vsprintf|gets|strncpy|strncat) why="no bound, or one that is easily wrong: snprintf, struct kp_buf" ;;
		strtok|asctime|ctime|gmtime|localtime|inet_ntoa) why="hidden static state: the _r form" ;;
		alloca) why="no limit" ;;
		system|popen) why="no shell is ever run" ;;
		atoi|atol|atoll|atof) why="no error: strtoul and a check" ;;
		malloc|calloc|realloc|reallocarray|strdup|strndup|asprintf|vasprintf)
			[ "$file" = proxy/base/mem.c ] || why="proxy/base/mem.h" ;;
		exit|_exit|quick_exit)
			# a forked child that cannot become the program it was forked for
			[ "$file" = proxy/main.c ] || [ "$file ${call##*:}" = "nft/exec.c _exit" ] || why="only main ends the process" ;;
		esac
		[ -z "$why" ] || { echo "${call%:*}: ${call##*:}() is banned here: $why"; bad=1; }
	done
done
exit $bad
