#ifndef KP_BASE_INHERIT_H
#define KP_BASE_INHERIT_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

struct kp_err;

/*
 * Open sockets on their way from one process to the next: received from a predecessor or
 * from systemd and not yet taken into use, or collected to be given away. A probe that
 * connects meanwhile waits in the queue of its socket. Owned by one thread at a time.
 */
struct kp_inherited {
	char *name;		/* of the listener: "main", "shared", "metrics", "ns/name" of a Service, ... */
	int fd;
	struct kp_addr addr;	/* TCP: what it is bound to; zero: every address of the family */
	uint16_t port;		/* 0: no listening TCP socket */
};

struct kp_inherit {
	struct kp_inherited *items;
	size_t n, cap;
};

struct kp_inherit *kp_inherit_new(void);
struct kp_inherit *kp_inherit_free(struct kp_inherit *in);	/* closes what nobody took; NULL is fine; returns NULL */

/* Takes fd and makes it non-blocking and close-on-exec. What it is the kernel says, not who gave it. */
void kp_inherit_add(struct kp_inherit *in, const char *name, int fd);
/* A second descriptor of a socket that stays in use. */
int kp_inherit_add_copy(struct kp_inherit *in, const char *name, int fd, struct kp_err *err);

/* The listening TCP socket at this address, or what has this name and is none; in may be NULL. -1: none, else the caller's. */
int kp_inherit_take(struct kp_inherit *in, const struct kp_addr *addr, uint16_t port);
int kp_inherit_take_named(struct kp_inherit *in, const char *name);

/* Those with this name, as a collection of their own; in may be NULL. */
struct kp_inherit *kp_inherit_split(struct kp_inherit *in, const char *name);

#endif
