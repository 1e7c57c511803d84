#ifndef KP_SYSTEMD_H
#define KP_SYSTEMD_H

#include <stdbool.h>

struct event_base;
struct hz_server;
struct kp_inherit;
struct kp_monitor;
struct kp_runner;

/*
 * Run by systemd, or by whoever speaks its protocol (sd_notify(3), sd_listen_fds(3)): tells it when the
 * rules are known to be in the kernel, that all threads are alive, and keeps our listening sockets
 * with it, so that probes wait in their queues while there is no process. Main thread. Without
 * NOTIFY_SOCKET there is no such thing: kp_systemd_new() returns NULL, which all take.
 */
struct kp_systemd;

struct kp_systemd_view {
	/* As they are at the moment; NULL: not there. */
	struct hz_server *const *server;
	struct kp_monitor *const *monitor;
	struct kp_runner *const *runner;
};

/* The sockets that were kept or opened for us (LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID). NULL: none. */
struct kp_inherit *kp_systemd_inherit(void);

struct kp_systemd *kp_systemd_new(struct event_base *base, const struct kp_systemd_view *view);
struct kp_systemd *kp_systemd_free(struct kp_systemd *s);

/*
 * READY=1, the first time. From then on WATCHDOG=1 from the main loop, as long as the health
 * and the dataplane thread have run since the last one; and the ports that stay are kept.
 */
void kp_systemd_started(struct kp_systemd *s);
void kp_systemd_reloading(struct kp_systemd *s);
void kp_systemd_reloaded(struct kp_systemd *s);		/* the ports that stay may be others */
/* STOPPING=1, with all sockets: also those of Services wait for the next process. */
void kp_systemd_stopping(struct kp_systemd *s);

#endif
