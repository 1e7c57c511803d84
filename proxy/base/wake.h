#ifndef KP_BASE_WAKE_H
#define KP_BASE_WAKE_H

/* An eventfd that does not block, by which threads wake each other: it is set, or it is not. */

void kp_wake_set(int fd);	/* readable from now on; it may be already */
void kp_wake_clear(int fd);	/* nothing to read until it is set again; it may be so already */

#endif
