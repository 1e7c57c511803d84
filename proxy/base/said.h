#ifndef KP_BASE_SAID_H
#define KP_BASE_SAID_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Lines that were logged lately, for failures that last: the same one is said once in ten
 * minutes, and at once again after it was forgotten, which is what the end of a failure is
 * for. A few hundred are remembered. One thread each.
 */
struct kp_said;

struct kp_said *kp_said_new(void);
struct kp_said *kp_said_free(struct kp_said *s);	/* NULL is fine; returns NULL */

/* True: it need not be said again. */
bool kp_said_lately(struct kp_said *s, const char *text, uint64_t now_ms);
void kp_said_forget(struct kp_said *s);

#endif
