#include "proxy/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <ucontext.h>

#include "nft/ipt_tools.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/config/checks.h"
#include "proxy/sandbox_impl.h"

/* --- capabilities --- */

static bool is_low(const char *hostport)
{
	struct kp_addr addr;
	uint16_t port;

	return *hostport && kp_hostport_parse(hostport, &addr, &port) && port < 1024;
}

static bool has_low_port(const struct kp_config *c)
{
	return is_low(c->healthz_bind_address) || is_low(c->shared_healthz_bind_address) || is_low(c->metrics_bind_address);
}

/* Raw sockets are how iptables-legacy talks to the kernel. */
static bool needs_raw(const struct kp_config *c, enum kp_mode mode)
{
	return mode == KP_MODE_IPTABLES || strcmp(c->iptables_variant, "legacy") == 0 ||
	       dp_ipt_legacy_in_use(KP_IPV4) || dp_ipt_legacy_in_use(KP_IPV6);
}

/*
 * iptables' tools, where they are installed: mode iptables is nothing without, any mode may
 * be changed to it, and has to find what it left.
 */
static bool runs_iptables(enum kp_mode mode)
{
	return mode == KP_MODE_IPTABLES || (mode != KP_MODE_UNSET && dp_ipt_tools_any());
}

/* Those, and the checks of the node; a relay has neither. */
static bool runs_programs(const struct kp_config *c, enum kp_mode mode)
{
	bool any = runs_iptables(mode);

	for (char *const *text = c->checks; mode != KP_MODE_UNSET && *text; text++) {
		KP_AUTO(kp_check_freep) struct kp_check *check = NULL;

		any |= kp_check_parse(*text, &check, NULL) == 0 && check->type == KP_CHECK_EXEC;
	}
	return any;
}

/*
 * Only the wanted, as far as we have them; inherit: for the programs that are started, too.
 * 0 or libcap-ng's error.
 */
static int keep(const unsigned *wanted, size_t n, bool inherit)
{
	/* Without CAP_SETPCAP the bounding set stays as it is, and no_new_privs makes that harmless. */
	bool bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_type_t sets = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET;
	unsigned have[4];
	size_t n_have = 0;

	for (size_t i = 0; i < n; i++)
		if (capng_have_capability(CAPNG_PERMITTED, wanted[i]))
			have[n_have++] = wanted[i];
	if (inherit)
		sets |= CAPNG_INHERITABLE | CAPNG_AMBIENT;
	capng_clear(CAPNG_SELECT_ALL);
	for (size_t i = 0; i < n_have; i++)
		capng_update(CAPNG_ADD, sets, have[i]);
	return capng_apply((bounds ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) | CAPNG_SELECT_AMBIENT);
}

/* One that cannot be dropped is no reason to leave the node without a proxy. */
static void drop_capabilities(const struct kp_config *c, enum kp_mode mode)
{
	unsigned wanted[3];
	size_t n = 0;
	int r;

	if (mode != KP_MODE_UNSET)
		wanted[n++] = CAP_NET_ADMIN;
	if (has_low_port(c))
		wanted[n++] = CAP_NET_BIND_SERVICE;
	if (mode != KP_MODE_UNSET && needs_raw(c, mode))
		wanted[n++] = CAP_NET_RAW;
	r = capng_get_caps_process();
	if (r == 0)
		r = keep(wanted, n, runs_iptables(mode));
	if (r < 0)
		kp_warn("sandbox", "cannot drop capabilities (%s, libcap-ng %d): they stay", strerror(errno), r);
}

/* --- system calls --- */

#if defined(__x86_64__)
#define RESULT(uc) ((uc)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define RESULT(uc) ((uc)->uc_mcontext.regs[0])
#endif

/*
 * Runs in the place of the refused call, on the thread that made it, so it can only be
 * inside code that makes calls which are not listed: neither the log nor malloc is.
 */
static void on_refused(int signo, siginfo_t *info, void *context)
{
	static bool said[1024];		/* by number */
	unsigned nr = (unsigned)info->si_syscall;
	int saved = errno;

	(void)signo;
#ifdef RESULT
	RESULT((ucontext_t *)context) = -ENOSYS;
#else
	(void)context;
#endif
	if (!__atomic_exchange_n(&said[nr % KP_N(said)], true, __ATOMIC_RELAXED)) {
		char *name = seccomp_syscall_resolve_num_arch(info->si_arch, info->si_syscall);

		kp_error("sandbox", "refused system call %s (%u); proxylet.seccomp: log or off lets it through",
			 name ? name : "of an unknown name", nr);
		free(name);
	}
	errno = saved;
}

static int catch_refused(struct kp_err *err)
{
	struct sigaction sa = { .sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigemptyset(&sa.sa_mask);
	return sigaction(SIGSYS, &sa, NULL) < 0 ? kp_err_set(err, -errno, "catch SIGSYS: %s", strerror(errno)) : 0;
}

/*
 * What becomes of the calls that are not listed. A program that is started keeps the filter but
 * not our handler, and SIGSYS would end it; so where there are programs, or where the result
 * of a trapped call cannot be set, only the kernel's audit log tells.
 */
static uint32_t other_calls(enum kp_seccomp how, unsigned when)
{
	if (how == KP_SECCOMP_LOG)
		return SCMP_ACT_LOG;
#ifdef RESULT
	if (!(when & KP_CALLS_PROGRAMS))
		return SCMP_ACT_TRAP;
#endif
	return SCMP_ACT_ERRNO(ENOSYS);
}

static int allow_named(scmp_filter_ctx f, unsigned when)
{
	int r = 0;

	for (const struct kp_call_group *g = kp_call_groups; g->names; g++)
		for (const char *const *name = g->names; g->when & when && *name && r == 0; name++) {
			int nr = seccomp_syscall_resolve_name(*name);

			if (nr >= 0)	/* else it has no such call here */
				r = seccomp_rule_add(f, SCMP_ACT_ALLOW, nr, 0);
		}
	return r;
}

static int allow_sockets(scmp_filter_ctx f)
{
	static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
	int r = 0;

	for (size_t i = 0; i < KP_N(families) && r == 0; i++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
	return r;
}

/* Threads and processes, but no namespaces. clone3 hides its flags in memory: the C library then uses clone. */
static int allow_threads(scmp_filter_ctx f)
{
	const scmp_datum_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
					CLONE_NEWPID | CLONE_NEWNET;
	int r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces, 0));

	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r == -EACCES ? 0 : r;	/* it is what becomes of all that are not listed */
}

static int fill_filter(scmp_filter_ctx f, unsigned when)
{
	int r = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);

	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_LOG, 1);	/* since Linux 4.14 */
	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);	/* a binary tree; older libraries have none */
	if (r == 0)
		r = allow_named(f, when);
	if (r == 0)
		r = allow_sockets(f);
	return r == 0 ? allow_threads(f) : r;
}

static int filter_calls(enum kp_seccomp how, unsigned when, struct kp_err *err)
{
	scmp_filter_ctx f = seccomp_init(other_calls(how, when));
	int r;

	if (!f)
		return kp_err_set(err, -ENOMEM, "make a filter of system calls");
	r = fill_filter(f, when);
	if (r < 0) {
		kp_err_set(err, r, "make a filter of system calls: %s", strerror(-r));
	} else if (seccomp_load(f) < 0) {
		kp_warn("sandbox", "this kernel takes no filter of system calls: none are refused");
	}
	seccomp_release(f);
	return r;
}

/* --- both --- */

int kp_sandbox_enter(const struct kp_config *c, enum kp_mode mode, struct kp_err *err)
{
	unsigned when = KP_CALLS_ALWAYS;
	int r = 0;

	drop_capabilities(c, mode);
	if (runs_programs(c, mode))
		when |= KP_CALLS_PROGRAMS;
	if (KP_SANITIZED)
		when |= KP_CALLS_SANITIZER;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = kp_err_set(err, -errno, "set no_new_privs: %s", strerror(errno));
	if (r == 0 && c->seccomp != KP_SECCOMP_OFF)
		r = catch_refused(err);
	if (r == 0 && c->seccomp != KP_SECCOMP_OFF)
		r = filter_calls(c->seccomp, when, err);
	return r;
}

static enum kp_mode default_mode(const struct kp_config *c)
{
	return c->mode == KP_MODE_UNSET ? KP_MODE_NFTABLES : c->mode;
}

void kp_sandbox_compare(const struct kp_config *was, const struct kp_config *is)
{
	if (was->seccomp != is->seccomp)
		kp_warn("sandbox", "proxylet.seccomp counts from the next start on");
	if (!runs_programs(was, default_mode(was)) && runs_programs(is, default_mode(is)))
		kp_warn("sandbox", "the right to run programs was given up: they need a new start");
	if (was->mode != is->mode && is->mode == KP_MODE_IPTABLES && !needs_raw(was, was->mode))
		kp_warn("sandbox", "CAP_NET_RAW was given up: iptables-legacy needs a new start");
	if (!has_low_port(was) && has_low_port(is))
		kp_warn("sandbox", "a port below 1024 needs CAP_NET_BIND_SERVICE, which only a new start can keep");
}
