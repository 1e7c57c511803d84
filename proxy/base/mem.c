#include "proxy/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
	if (!p) {
		fputs("proxylet: out of memory; the rules in the kernel stay\n", stderr);
		abort();
	}
	return p;
}

void *kp_malloc(size_t size)
{
	return must(malloc(size ? size : 1));
}

void *kp_calloc(size_t n, size_t size)
{
	return must(calloc(n ? n : 1, size ? size : 1));
}

void *kp_reallocarray(void *p, size_t n, size_t size)
{
	return must(reallocarray(p, n ? n : 1, size ? size : 1));
}

char *kp_strdup(const char *s)
{
	return must(strdup(s));
}

char *kp_strndup(const char *s, size_t n)
{
	return must(strndup(s, n));
}

void *kp_memdup(const void *p, size_t size)
{
	void *copy = kp_malloc(size);

	return size ? memcpy(copy, p, size) : copy;
}

char *kp_asprintf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return must(s);
}

void *kp_grow_(void *array, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return array;
	*cap = *cap ? *cap * 2 : 8;
	return kp_reallocarray(array, *cap, size);
}
