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
 * namespace".
 */
int kp_instance_take(int *ret_fd, struct kp_err *err);

/* A connection to whoever is the one, which does not block; -errno with err. */
int kp_instance_connect(struct kp_err *err);

#endif
