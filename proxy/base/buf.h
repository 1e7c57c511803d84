#ifndef KP_BASE_BUF_H
#define KP_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

/* A growing byte buffer. Zero-initialise; data is NUL-terminated after every printf. */
struct kp_buf {
	char *data;
	size_t len, cap;
};

void kp_buf_release(struct kp_buf *b);	/* also resets to empty */
char *kp_buf_reserve(struct kp_buf *b, size_t more);	/* room for more bytes after len */
void kp_buf_add(struct kp_buf *b, const void *p, size_t len);
void kp_buf_puts(struct kp_buf *b, const char *s);
void kp_buf_printf(struct kp_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
