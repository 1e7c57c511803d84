#ifndef DP_WARM_H
#define DP_WARM_H

struct dp_options;
struct kp_err;

/*
 * May a process that has written nothing yet count on what the kernel holds (health-and-probes
 * E.6, warm start)? Every family's table is there in our format, with all fixed sets as they
 * are defined, all fixed chains at their hooks with rules in them, and no rule of somebody
 * else. Which Services and endpoints are right only the first full comparison can tell.
 *
 * 0: yes. -ENOENT: there is nothing of ours, a cold start. -EUCLEAN: what is there is not
 * whole; err says what. Others: it could not be read.
 */
int dp_nft_warm(const struct dp_options *opt, struct kp_err *err);

#endif
