#ifndef HZ_STAMP_H
#define HZ_STAMP_H

#include <stdint.h>

/*
 * Times as text, from nanoseconds since 1970. Pure: unlike gmtime_r() they take no
 * lock of the C library that another thread could hold. Both return out.
 */
#define HZ_RFC3339_LEN 31	/* with the NUL */
#define HZ_HTTP_DATE_LEN 30

/* "2026-03-01T10:00:05.000000001Z": UTC, without trailing zeros. 0 is the zero time, "0001-01-01T00:00:00Z". */
const char *hz_stamp_rfc3339(uint64_t wall_ns, char *out);

/* "Sun, 01 Mar 2026 10:00:05 GMT" (RFC 9110, 5.6.7) */
const char *hz_stamp_http(uint64_t wall_ns, char *out);

#endif
