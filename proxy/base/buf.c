#include "proxy/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

void kp_buf_release(struct kp_buf *b)
{
	free(b->data);
	*b = (struct kp_buf){ 0 };
}

char *kp_buf_reserve(struct kp_buf *b, size_t more)
{
	if (b->cap - b->len < more) {
		size_t cap = b->cap ? b->cap : 256;

		while (cap - b->len < more)
			cap *= 2;
		b->data = kp_reallocarray(b->data, cap, 1);
		b->cap = cap;
	}
	return b->data + b->len;
}

void kp_buf_add(struct kp_buf *b, const void *p, size_t len)
{
	if (!len)
		return;
	memcpy(kp_buf_reserve(b, len), p, len);
	b->len += len;
}

void kp_buf_puts(struct kp_buf *b, const char *s)
{
	size_t len = strlen(s);

	memcpy(kp_buf_reserve(b, len + 1), s, len + 1);
	b->len += len;
}

void kp_buf_printf(struct kp_buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(kp_buf_reserve(b, 128), 128, fmt, ap);
	if (n >= 128)
		vsnprintf(kp_buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, again);
	if (n > 0)
		b->len += (size_t)n;
	va_end(again);
	va_end(ap);
}
