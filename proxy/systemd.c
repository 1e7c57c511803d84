#include "proxy/systemd.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "healthz/server.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/fdsend.h"
#include "proxy/base/inherit.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/monitor.h"
#include "proxy/plan/runner.h"

#define FIRST_FD 3		/* SD_LISTEN_FDS_START */
#define SERVICE_NAME "service"	/* of the sockets of all Services: their own names have characters that may not be there */
#define PINGS 3			/* in each period of the watchdog */

struct kp_systemd {
	struct kp_systemd_view view;
	int fd;			/* connected to NOTIFY_SOCKET */
	bool started;
	struct timeval period;
	struct event *watchdog;	/* NULL: not asked for */
};

/* --- what we are given --- */

static unsigned long number(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 10) : 0;
}

struct kp_inherit *kp_systemd_inherit(void)
{
	unsigned long n = number("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	struct kp_inherit *in;

	if (!n || number("LISTEN_PID") != (unsigned long)getpid())
		return NULL;
	in = kp_inherit_new();
	for (int fd = FIRST_FD; (unsigned long)fd < FIRST_FD + n; fd++) {
		size_t len = names ? strcspn(names, ":") : 0;
		KP_AUTO(kp_freep) char *name = kp_strndup(names ? names : "", len);

		kp_inherit_add(in, name, fd);
		if (!in->items[in->n - 1].port)
			kp_warn("systemd", "socket '%s' (descriptor %d) is not one we could use: it must listen, and serve one family only",
				name, fd);
		names = names && names[len] ? names + len + 1 : NULL;
	}
	unsetenv("LISTEN_FDS");		/* of this process and of no other */
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
	kp_info("systemd", "got %zu sockets", in->n);
	return in;
}

/* --- what we tell --- */

/* One datagram, with a descriptor or without (-1). If nobody reads it nothing is lost but the news. */
static bool say_with(const struct kp_systemd *s, const char *text, int fd)
{
	if (kp_fdsend(s->fd, text, strlen(text), fd, 0) >= 0)
		return true;
	kp_warn("systemd", "cannot notify: %s", errno == EAGAIN ? "nobody reads it" : strerror(errno));
	return false;
}

static void say(const struct kp_systemd *s, const char *text)
{
	(void)say_with(s, text, -1);
}

static bool stays(const struct kp_inherited *sock)
{
	return sock->port && !strchr(sock->name, '/');
}

/* Its copies, by name: it would keep a port open that nobody answers at any more. */
static void forget_sockets(const struct kp_systemd *s)
{
	static const char *const names[] = { "main", "shared", KP_MONITOR_METRICS, SERVICE_NAME };

	for (size_t i = 0; i < KP_N(names); i++) {
		KP_AUTO(kp_freep) char *text = kp_asprintf("FDSTOREREMOVE=1\nFDNAME=%s", names[i]);

		say(s, text);
	}
}

static void store_sockets(const struct kp_systemd *s, bool all)
{
	struct kp_inherit *in;
	bool told = true;

	if (!*s->view.server || !*s->view.monitor)
		return;
	in = kp_inherit_new();
	hz_server_give(*s->view.server, in);
	kp_monitor_give(*s->view.monitor, in);
	for (size_t i = 0; told && i < in->n; i++) {
		const struct kp_inherited *sock = &in->items[i];
		KP_AUTO(kp_freep) char *text = kp_asprintf("FDSTORE=1\nFDNAME=%s", stays(sock) ? sock->name : SERVICE_NAME);

		if (sock->port && (all || stays(sock)))
			told = say_with(s, text, sock->fd);
	}
	kp_inherit_free(in);
}

/* --- the watchdog --- */

static void on_period(evutil_socket_t fd, short what, void *arg)
{
	const struct kp_systemd *s = arg;
	/* Both are asked every time, so that both are asked anew. */
	bool health = !*s->view.server || hz_server_has_run(*s->view.server);
	bool dataplane = !*s->view.runner || kp_runner_has_run(*s->view.runner);

	(void)fd, (void)what;
	if (health && dataplane)
		say(s, "WATCHDOG=1");
	else
		kp_warn("systemd", "the %s thread is stuck: the watchdog is not told that all is well",
			health ? "dataplane" : "health");
}

static void start_watchdog(struct kp_systemd *s, struct event_base *base)
{
	unsigned long usec = number("WATCHDOG_USEC"), pid = number("WATCHDOG_PID");

	if (!usec || (pid && pid != (unsigned long)getpid()))
		return;
	usec /= PINGS;
	s->period = (struct timeval){ .tv_sec = (time_t)(usec / 1000000), .tv_usec = (suseconds_t)(usec % 1000000) };
	s->watchdog = event_new(base, -1, EV_PERSIST, on_period, s);
	event_add(s->watchdog, &s->period);
}

/* --- */

/* A path, or with '@' in front a name of the abstract kind. */
static int connect_to(const char *where)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t len = strlen(where);
	int fd;

	if (len < 2 || len >= sizeof(a.sun_path) || !strchr("/@", where[0]))
		return -1;
	memcpy(a.sun_path, where, len);
	if (where[0] == '@')
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

struct kp_systemd *kp_systemd_new(struct event_base *base, const struct kp_systemd_view *view)
{
	const struct timeval patience = { .tv_sec = 1 };	/* sockets must not be lost to a full queue */
	const char *where = getenv("NOTIFY_SOCKET");
	struct kp_systemd *s;
	int fd;

	if (!where)
		return NULL;
	fd = connect_to(where);
	if (fd < 0) {
		kp_warn("systemd", "cannot notify '%s': %s", where, strerror(errno));
		return NULL;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	s = kp_calloc(1, sizeof(*s));
	s->view = *view;
	s->fd = fd;
	forget_sockets(s);	/* what was kept is ours now */
	start_watchdog(s, base);
	return s;
}

struct kp_systemd *kp_systemd_free(struct kp_systemd *s)
{
	if (!s)
		return NULL;
	if (s->watchdog)
		event_free(s->watchdog);
	close(s->fd);
	free(s);
	return NULL;
}

void kp_systemd_started(struct kp_systemd *s)
{
	if (!s || s->started)
		return;
	s->started = true;
	say(s, "READY=1\nSTATUS=the rules are in the kernel");
	store_sockets(s, false);
}

void kp_systemd_reloading(struct kp_systemd *s)
{
	KP_AUTO(kp_freep) char *text = kp_asprintf("RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(kp_now_ns() / 1000));

	if (s && s->started)
		say(s, text);
}

void kp_systemd_reloaded(struct kp_systemd *s)
{
	if (!s || !s->started)
		return;
	say(s, "READY=1");
	forget_sockets(s);
	store_sockets(s, false);
}

void kp_systemd_stopping(struct kp_systemd *s)
{
	if (!s)
		return;
	say(s, "STOPPING=1\nSTATUS=ending; the rules stay");
	store_sockets(s, true);
}
