#ifndef KP_BASE_MEM_H
#define KP_BASE_MEM_H

#include <stddef.h>

/*
 * Allocation that cannot fail: out of memory is logged and aborts the process.
 * The kernel keeps the rules, and the restarted process resumes from them, so
 * there is no better answer than a quick and honest end.
 */
void *kp_malloc(size_t size);
void *kp_calloc(size_t n, size_t size);
void *kp_reallocarray(void *p, size_t n, size_t size);
char *kp_strdup(const char *s);
char *kp_strndup(const char *s, size_t n);
void *kp_memdup(const void *p, size_t size);
char *kp_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Make room for one more element in an array that grows by doubling:
 *	kp_grow(&v->items, v->n, &v->cap);  v->items[v->n++] = x;
 */
#define kp_grow(parray, n, pcap) \
	(*(parray) = kp_grow_(*(parray), (n), (pcap), sizeof(**(parray))))
void *kp_grow_(void *array, size_t n, size_t *cap, size_t size);

#endif
