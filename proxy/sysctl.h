#ifndef KP_SYSCTL_H
#define KP_SYSCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kp_config_conntrack;

/*
 * The kernel's connection tracking as the configuration wants it (kube-proxy-behaviour
 * 8.1), through files. Read first, written only where different.
 */
struct kp_sysctl {
	const char *field;	/* of the configuration, for messages */
	const char *path;	/* below the root */
	int64_t value;
	bool at_least;		/* a larger one stays */
};
#define KP_SYSCTLS_MAX 7

/* nf_conntrack_max for that many processors; 0: leave it alone. */
int64_t kp_sysctl_conntrack_max(int64_t max_per_core, int64_t min, unsigned n_cpus);
/* What to set, in kube-proxy's order. Returns how many. */
size_t kp_sysctl_conntrack(const struct kp_config_conntrack *c, unsigned n_cpus, struct kp_sysctl ret[KP_SYSCTLS_MAX]);

/*
 * Set them below root ("" on a real machine). One that cannot be set, because /proc is
 * read-only, because the value belongs to the whole machine and we are in a network namespace
 * of a container, is a warning and no reason not to set the others. Returns how many failed.
 */
size_t kp_sysctl_apply(const char *root, const struct kp_sysctl *list, size_t n);

/* Both, for this machine. */
size_t kp_sysctl_set_conntrack(const struct kp_config_conntrack *c);

#endif
