/*
 * LD_PRELOAD for keepalived on a kernel without IPVS: its checkers, which are what is wanted
 * of it, belong to its load balancer, and that does not start when the kernel does not answer.
 * Here libnl answers in its place: every request is acknowledged, and nothing is balanced.
 */
#include <stddef.h>

#define N_KINDS	16	/* more than enum nl_cb_type has */
#define FINISH	1	/* NL_CB_FINISH: a dump is over */
#define ACK	4	/* NL_CB_ACK */

struct nl_sock;
struct nl_msg;
typedef int callback(struct nl_msg *msg, void *arg);

static struct {
	callback *fn;
	void *arg;
} callbacks[N_KINDS];

int genl_ctrl_resolve(struct nl_sock *sk, const char *name);
int nl_socket_modify_cb(struct nl_sock *sk, int type, int kind, callback *fn, void *arg);
int nl_send_auto(struct nl_sock *sk, struct nl_msg *msg);
int nl_recvmsgs_default(struct nl_sock *sk);

int genl_ctrl_resolve(struct nl_sock *sk, const char *name)
{
	(void)sk;
	(void)name;
	return 0x7f;	/* a family nobody has */
}

int nl_socket_modify_cb(struct nl_sock *sk, int type, int kind, callback *fn, void *arg)
{
	(void)sk;
	(void)kind;
	if (type < N_KINDS) {
		callbacks[type].fn = fn;
		callbacks[type].arg = arg;
	}
	return 0;
}

int nl_send_auto(struct nl_sock *sk, struct nl_msg *msg)
{
	(void)sk;
	(void)msg;
	return 1;
}

int nl_recvmsgs_default(struct nl_sock *sk)
{
	int end = callbacks[ACK].fn ? ACK : FINISH;

	(void)sk;
	if (callbacks[end].fn)
		callbacks[end].fn(NULL, callbacks[end].arg);
	return 0;
}
