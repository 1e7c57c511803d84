/*
 * A kernel that is slow or refuses, for tests: linked into proxylet-faults alone, where
 * the linker puts it in the place of sendmsg() (--wrap). The program's own code knows
 * nothing of it. The file that PROXYLET_FAULTS names is read before every nf_tables
 * transaction, so that a test can change its mind at any time:
 *
 *     txn_delay=S       the kernel takes S seconds (or until the line is gone); meanwhile there is a file FILE.held
 *     txn_fail=ERRNO    it refuses the whole transaction: EBUSY, ENOMEM, ...
 *     txn_refuse=TEXT   it refuses the elements whose comment is TEXT, by itself
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/clock.h"

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);

struct faults {
	double delay;
	int fail;
	char refuse[128];
};

static int errno_of(const char *name)
{
	static const struct { const char *name; int code; } all[] = {
		{ "EBUSY", EBUSY }, { "ENOMEM", ENOMEM }, { "EPERM", EPERM }, { "EOPNOTSUPP", EOPNOTSUPP }, { "ENOENT", ENOENT },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i].code;
	return EIO;
}

static struct faults read_faults(void)
{
	const char *path = getenv("PROXYLET_FAULTS");
	FILE *f = path ? fopen(path, "re") : NULL;
	struct faults ret = { 0 };
	char line[256], word[128];

	while (f && fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "txn_delay=%lf", &ret.delay);
		(void)sscanf(line, "txn_refuse=%127s", ret.refuse);
		if (sscanf(line, "txn_fail=%127s", word) == 1)
			ret.fail = errno_of(word);
	}
	if (f)
		(void)fclose(f);
	return ret;
}

static bool is_transaction(const struct msghdr *msg)
{
	struct nlmsghdr h;

	if (!msg->msg_iovlen || msg->msg_iov[0].iov_len < sizeof(h))
		return false;
	memcpy(&h, msg->msg_iov[0].iov_base, sizeof(h));
	return h.nlmsg_type == NFNL_MSG_BATCH_BEGIN;
}

static void delay(double seconds)
{
	uint64_t until = kp_now_ns() + (uint64_t)(seconds * 1e9);
	char held[4096];

	snprintf(held, sizeof(held), "%s.held", getenv("PROXYLET_FAULTS"));
	close(open(held, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	while (kp_now_ns() < until && read_faults().delay > 0)
		usleep(5000);
	unlink(held);
}

/* Userdata in front of the comment becomes a timeout, which these sets do not have: EINVAL, at this element. */
static void spoil(const struct iovec *iov, const char *comment)
{
	char *p = iov->iov_base, *end = p + iov->iov_len, *hit;
	const uint16_t type = NFTA_SET_ELEM_TIMEOUT;

	while ((hit = memmem(p, (size_t)(end - p), comment, strlen(comment) + 1))) {
		memcpy(hit - 4, &type, sizeof(type));	/* length, type; then the TLV's type, length */
		p = hit + 1;
	}
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct faults f = { 0 };

	if (!is_transaction(msg))
		return __real_sendmsg(fd, msg, flags);
	f = read_faults();
	if (f.delay > 0)
		delay(f.delay);
	for (size_t i = 0; *f.refuse && i < msg->msg_iovlen; i++)
		spoil(&msg->msg_iov[i], f.refuse);
	if (!f.fail)
		return __real_sendmsg(fd, msg, flags);
	errno = f.fail;
	return -1;
}
