#ifndef KP_BASE_INSTANCE_H
#define KP_BASE_INSTANCE_H

struct kp_err;

/*
 * One agent per network namespace, because that is where the rules are: the place
 * is an abstract UNIX socket, whose names belong to the network namespace. The
 * kernel gives it free when the holder ends, however it ends.
 *
 * 0: the caller is the one, as long as *ret_fd stays open. -EADDRINUSE: another
 * one is; err names it: "another proxylet (pid 123) already programs this network
 * namespace". -EPERM: whoever has the name is no agent, and err says who; any process
 * may bind it, but what runs as neither root, nor the caller's user, nor the owner of
 * /run/proxylet is none. Waits half a second for a holder that is dying, or is none.
 */
int kp_instance_take(int *ret_fd, struct kp_err *err);
/* The same without waiting: 0 or -errno. */
int kp_instance_try(int *ret_fd);
/* The same, after a holder that seems to be ending: waits two seconds for whoever it is. */
int kp_instance_await(int *ret_fd, struct kp_err *err);
/* A listening socket that another process took: from now on the kernel says of whoever connects that it is ours. */
int kp_instance_claim(int fd);

/* A connection to the agent that is the one, which does not block; -errno with err, -EPERM as above. */
int kp_instance_connect(struct kp_err *err);

#endif
