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
	struct check checks[HZ_MAX_CHECKS];
	size_t n;
};

static void conclude(struct check *c, bool ok, const char *why)
{
	if (ok != c->result.ok)
		kp_info("check", "\"%s\" %s%s", c->spec->name, ok ? "passes" : "fails: ", ok ? "" : why);
	c->result.ok = ok;
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
	bool full;

	(void)fd, (void)what;
	if (!read_stat(&busy, &total)) {
		conclude(c, false, "/proc/stat cannot be read");
		return;
	}
	kp_cpuload_add(c->load, busy, total);
	full = kp_cpuload_mean(c->load, &c->result.value);
	conclude(c, !full || c->result.value <= c->spec->percent, "the processors are too busy");
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

static void start(struct check *c)
{
	bool cpu = c->spec->type == KP_CHECK_CPU;
	const struct timeval every = { .tv_sec = cpu ? 1 : c->spec->interval_s };

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
}

struct kp_nodechecks *kp_nodechecks_new(struct event_base *base, char *const *specs, void (*changed)(void *arg),
					void *arg)
{
	struct kp_nodechecks *nc = kp_calloc(1, sizeof(*nc));
	struct kp_err err = { 0 };

	nc->base = base;
	nc->changed = changed;
	nc->arg = arg;
	for (; *specs && nc->n < HZ_MAX_CHECKS; specs++) {
		struct check *c = &nc->checks[nc->n];

		if (kp_check_parse(*specs, &c->spec, &err) < 0)
			abort();	/* it was valid when it was read */
		c->all = nc;
		c->json = kp_strdup(*specs);
		nc->n++;
		start(c);
	}
	return nc;
}

static void end(struct check *c)
{
	if (c->pid) {
		kill_run(c->pid);
		forget_run(c);
	}
	event_free(c->tick);
	event_free(c->limit);
	kp_check_free(c->spec);
	free(c->load);
	free(c->json);
}

struct kp_nodechecks *kp_nodechecks_free(struct kp_nodechecks *nc)
{
	if (!nc)
		return NULL;
	for (size_t i = 0; i < nc->n; i++)
		end(&nc->checks[i]);
	free(nc);
	return NULL;
}

bool kp_nodechecks_same(const struct kp_nodechecks *nc, char *const *specs)
{
	for (size_t i = 0; i < nc->n; i++)
		if (!specs[i] || strcmp(specs[i], nc->checks[i].json) != 0)
			return false;
	return !specs[nc->n];
}

size_t kp_nodechecks_get(const struct kp_nodechecks *nc, struct hz_check ret[HZ_MAX_CHECKS])
{
	for (size_t i = 0; i < nc->n; i++)
		ret[i] = nc->checks[i].result;
	return nc->n;
}
