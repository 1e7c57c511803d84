#!/bin/sh
# cppcheck over proxy/ nft/ healthz/ of the current folder. Leaks are judged elsewhere (lint.sh).
# fields.c: version 2.10 expands macro names that are operands of ##, and then sees a syntax error.
exec cppcheck --quiet -j "$(nproc)" --std=c11 --enable=warning,portability \
	--include="$(dirname "$0")/cppcheck.h" --suppress=memleak --suppress=syntaxError:proxy/config/fields.c \
	--inline-suppr --error-exitcode=1 -I. proxy healthz nft
