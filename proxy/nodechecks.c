#include "proxy/nodechecks.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/config/checks.h"
#include "proxy/cpuload.h"

#define GONE_MS	100	/* what is killed is gone long before */

struct check {
	struct kp_nodechecks *all;
	char *json;		/* what it was made from */
	struct kp_check *spec;
	struct hz_check result;
	bool concluded;		/* result.ok is our own */
	struct event *tick;	/* each second, or each interval */
	struct kp_cpuload *load;
	/* A program that runs. */
	pid_t pid;		/* 0: none; leader of a process group of its own */
	int pidfd;
	bool too_long;
	struct event *ended, *limit;
};

struct kp_nodechecks {
	struct event_base *base;
	void (*changed)(void *arg);
	void *arg;
	struct check *checks[HZ_MAX_CHECKS];	/* each at a fixed place: libevent points to them */
	size_t n;
};

static void conclude(struct check *c, bool ok, const char *why)
{
	if (ok != c->result.ok)
		kp_info("check", "\"%s\" %s%s", c->spec->name, ok ? "passes" : "fails: ", ok ? "" : why);
	c->result.ok = ok;
	c->concluded = true;
	c->all->changed(c->all->arg);
}

/* --- cpuPercentMax --- */

static bool read_stat(uint64_t *busy, uint64_t *total)
{
	FILE *f = fopen("/proc/stat", "re");
	char line[256] = "";
	bool good;

	if (!f)
		return false;
	good = fgets(line, sizeof(line), f) && kp_cpuload_parse(line, busy, total);
	(void)fclose(f);	/* only read from */
	return good;
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct check *c = arg;
	uint64_t busy, total;

	(void)fd, (void)what;
	if (!read_stat(&busy, &total)) {
		conclude(c, false, "/proc/stat cannot be read");
		return;
	}
	kp_cpuload_add(c->load, busy, total);
	if (kp_cpuload_mean(c->load, &c->result.value))
		conclude(c, c->result.value <= c->spec->percent, "the processors are too busy");
	else
		c->all->changed(c->all->arg);
}

/* --- exec --- */

static void forget_run(struct check *c)
{
	event_free(kp_steal(&c->ended));
	event_del(c->limit);
	close(c->pidfd);
	c->pidfd = -1;
	c->pid = 0;
}

/* What the kernel does not let go of, in a read from a dead file server, is not waited for: init buries it. */
static void kill_run(pid_t pid)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	(void)kill(-pid, SIGKILL);
	for (int i = 0; i < GONE_MS && waitpid(pid, NULL, WNOHANG) == 0; i++)
		(void)nanosleep(&ms, NULL);
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct check *c = arg;
	char why[48] = "it takes too long";
	int status = 0;
	pid_t pid;

	(void)fd, (void)what;
	pid = waitpid(c->pid, &status, WNOHANG);
	if (pid == 0)
		return;
	forget_run(c);
	if (pid < 0)
		snprintf(why, sizeof(why), "nobody knows how it ended");
	else if (!c->too_long && WIFEXITED(status))
		snprintf(why, sizeof(why), "exit status %d", WEXITSTATUS(status));
	else if (!c->too_long)
		snprintf(why, sizeof(why), "signal %d", WTERMSIG(status));
	conclude(c, pid > 0 && !c->too_long && WIFEXITED(status) && WEXITSTATUS(status) == 0, why);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct check *c = arg;

	(void)fd, (void)what;
	c->too_long = true;
	(void)kill(-c->pid, SIGKILL);	/* the group, with all that the program started in it */
	conclude(c, false, "it takes too long");
}

/* A group of its own, no signal blocked or ignored, nothing to read, nowhere to write. 0 or errno. */
static int spawn(char *const *command, pid_t *ret)
{
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t files;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawn_file_actions_init(&files);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
	r = posix_spawn(ret, command[0], &files, &attr, command, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return r;
}

static void on_interval(evutil_socket_t fd, short what, void *arg)
{
	struct check *c = arg;
	const struct timeval limit = { .tv_sec = c->spec->timeout_s };
	int r;

	(void)fd, (void)what;
	if (c->pid)
		return;		/* killed, and not quite gone yet */
	r = spawn(c->spec->command, &c->pid);
	if (r) {
		c->pid = 0;
		conclude(c, false, strerror(r));
		return;
	}
	c->pidfd = pidfd_open(c->pid, 0);
	if (c->pidfd < 0) {	/* nobody would tell how it ends */
		r = errno;
		kill_run(c->pid);
		c->pid = 0;
		conclude(c, false, strerror(r));
		return;
	}
	c->too_long = false;
	c->ended = event_new(c->all->base, c->pidfd, EV_READ | EV_PERSIST, on_ended, c);
	event_add(c->ended, NULL);
	event_add(c->limit, &limit);
}

/* --- all of them --- */

static struct check *start(struct kp_nodechecks *nc, const char *json)
{
	struct check *c = kp_calloc(1, sizeof(*c));
	struct kp_err err = { 0 };
	struct timeval every;
	bool cpu;

	if (kp_check_parse(json, &c->spec, &err) < 0)
		abort();	/* it was valid when it was read */
	cpu = c->spec->type == KP_CHECK_CPU;
	every = (struct timeval){ .tv_sec = cpu ? 1 : c->spec->interval_s };
	c->all = nc;
	c->json = kp_strdup(json);
	c->result = (struct hz_check){ .ok = cpu, .for_healthz = c->spec->for_healthz, .has_value = cpu };
	snprintf(c->result.name, sizeof(c->result.name), "%s", c->spec->name);
	c->pidfd = -1;
	if (cpu) {
		c->load = kp_calloc(1, sizeof(*c->load));
		c->load->window = (unsigned)c->spec->for_s;
	}
	c->limit = evtimer_new(c->all->base, on_limit, c);
	c->tick = event_new(c->all->base, -1, EV_PERSIST, cpu ? on_second : on_interval, c);
	event_add(c->tick, &every);
	event_active(c->tick, EV_TIMEOUT, 0);
	return c;
}

static void end(struct check *c)
{
	if (!c)
		return;
	if (c->pid) {
		kill_run(c->pid);
		forget_run(c);
	}
	event_free(c->tick);
	event_free(c->limit);
	kp_check_free(c->spec);
	free(c->load);
	free(c->json);
	free(c);
}

struct kp_nodechecks *kp_nodechecks_new(struct event_base *base, void (*changed)(void *arg), void *arg)
{
	struct kp_nodechecks *nc = kp_calloc(1, sizeof(*nc));

	nc->base = base;
	nc->changed = changed;
	nc->arg = arg;
	return nc;
}

struct kp_nodechecks *kp_nodechecks_free(struct kp_nodechecks *nc)
{
	if (!nc)
		return NULL;
	for (size_t i = 0; i < nc->n; i++)
		end(nc->checks[i]);
	free(nc);
	return NULL;
}

static struct check *take(struct kp_nodechecks *nc, const char *json)
{
	for (size_t i = 0; i < nc->n; i++)
		if (nc->checks[i] && strcmp(nc->checks[i]->json, json) == 0)
			return kp_steal(&nc->checks[i]);
	return NULL;
}

void kp_nodechecks_configure(struct kp_nodechecks *nc, char *const *specs)
{
	struct check *next[HZ_MAX_CHECKS] = { NULL };
	size_t n = 0;

	for (; n < HZ_MAX_CHECKS && specs[n]; n++) {
		next[n] = take(nc, specs[n]);
		if (!next[n])
			next[n] = start(nc, specs[n]);
	}
	for (size_t i = 0; i < nc->n; i++)
		end(nc->checks[i]);
	memcpy(nc->checks, next, sizeof(next));
	nc->n = n;
}

void kp_nodechecks_inherit(struct kp_nodechecks *nc, const struct hz_check *results, size_t n)
{
	for (size_t i = 0; i < nc->n; i++)
		for (size_t j = 0; j < n && !nc->checks[i]->concluded; j++)
			if (strcmp(nc->checks[i]->result.name, results[j].name) == 0)
				nc->checks[i]->result.ok = results[j].ok;
}

size_t kp_nodechecks_get(const struct kp_nodechecks *nc, struct hz_check ret[HZ_MAX_CHECKS])
{
	for (size_t i = 0; i < nc->n; i++)
		ret[i] = nc->checks[i]->result;
	return nc->n;
}
