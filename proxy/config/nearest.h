#ifndef KP_CONFIG_NEAREST_H
#define KP_CONFIG_NEAREST_H

/* Which known name was probably meant: offer all of them, then look at best. */
struct kp_nearest {
	const char *best;	/* borrowed; NULL: none is near */
	unsigned distance;
};

void kp_nearest_offer(struct kp_nearest *n, const char *word, const char *known);

#endif
