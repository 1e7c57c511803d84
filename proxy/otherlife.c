#include "proxy/otherlife.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"

#define NAME		"kube-proxy"
#define ANSWER_MS	300
#define TCP_LISTEN	0x0a	/* as /proc/net/tcp has it */

const char *const kp_other_states[] = {
	[KP_OTHER_NONE] = "none", [KP_OTHER_UNSURE] = "unsure", [KP_OTHER_LEFT] = "left behind", [KP_OTHER_ALIVE] = "running",
};

/* kube-proxy's ports, and a page of each by which it is known. */
static const struct { uint16_t port; const char *path; } ports[] = { { 10256, "/healthz" }, { 10249, "/proxyMode" } };

/* --- judging --- */

enum kp_other_state kp_other_judge(const struct kp_life_signs *s)
{
	if (s->pid || s->port)
		return KP_OTHER_ALIVE;
	if (!s->rules)
		return KP_OTHER_NONE;
	if (s->changed && s->quiet_ns < KP_OTHER_CALM_NS)
		return KP_OTHER_ALIVE;
	return s->quiet_ns < KP_OTHER_QUIET_NS ? KP_OTHER_UNSURE : KP_OTHER_LEFT;
}

enum kp_other_action kp_other_decide(enum kp_takeover_mode t, enum kp_other_state state, bool holding)
{
	static const enum kp_other_action at_start[][4] = {	/* by enum kp_other_state */
		[KP_TAKEOVER_AUTO] = { KP_OTHER_PROGRAM, KP_OTHER_WAIT, KP_OTHER_REPLACE, KP_OTHER_WAIT },
		[KP_TAKEOVER_NEVER] = { KP_OTHER_PROGRAM, KP_OTHER_BESIDE, KP_OTHER_BESIDE, KP_OTHER_BESIDE },
		[KP_TAKEOVER_ALWAYS] = { KP_OTHER_PROGRAM, KP_OTHER_REPLACE, KP_OTHER_REPLACE, KP_OTHER_REPLACE },
	};
	static const enum kp_other_action later[][4] = {
		[KP_TAKEOVER_AUTO] = { KP_OTHER_PROGRAM, KP_OTHER_WATCH, KP_OTHER_REPLACE, KP_OTHER_ALARM },
		[KP_TAKEOVER_NEVER] = { KP_OTHER_PROGRAM, KP_OTHER_BESIDE, KP_OTHER_BESIDE, KP_OTHER_ALARM },
		[KP_TAKEOVER_ALWAYS] = { KP_OTHER_PROGRAM, KP_OTHER_WATCH, KP_OTHER_REPLACE, KP_OTHER_ALARM },
	};

	return (holding ? later : at_start)[t][state];
}

/*
 * Our own answers, those of a predecessor or successor among them, are shaped like its own
 * on purpose; but they forbid caching, and kube-proxy's never did.
 */
bool kp_is_kube_proxy(uint16_t port, const char *answer)
{
	static const char *const modes[] = { "iptables", "ipvs", "nftables" };
	const char *body = strstr(answer, "\r\n\r\n");

	if (strncmp(answer, "HTTP/1.", 7) != 0 || !body || strstr(answer, "Cache-Control: no-store"))
		return false;
	if (port == 10256)
		return strstr(body, "\"lastUpdated\"") && strstr(body, "\"currentTime\"");
	for (size_t i = 0; i < KP_N(modes); i++)
		if (strcmp(body + 4, modes[i]) == 0)
			return true;
	return false;
}

const char *kp_life_str(const struct kp_life_signs *s, char *out)
{
	if (s->pid)
		snprintf(out, KP_LIFE_STRLEN, "process %d runs", s->pid);
	else if (s->port)
		snprintf(out, KP_LIFE_STRLEN, "port %u answers", s->port);
	else if (s->changed && s->quiet_ns < KP_OTHER_CALM_NS)
		snprintf(out, KP_LIFE_STRLEN, "its rules change");
	else
		snprintf(out, KP_LIFE_STRLEN, "its rules do not change");
	return out;
}

/* --- processes --- */

/*
 * By a file of which each network namespace has its own: ns/net would say it, too, but
 * only to those with more privilege than a process that has what we gave up.
 */
static bool same_netns(const char *pid)
{
	struct stat ours, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%.20s/net/netlink", pid);
	return stat("/proc/self/net/netlink", &ours) == 0 && stat(path, &theirs) == 0 && ours.st_ino == theirs.st_ino &&
	       ours.st_dev == theirs.st_dev;
}

static bool has_name(const char *pid)
{
	char path[64], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	f = fopen(path, "re");
	if (f) {
		if (!fgets(name, sizeof(name), f))
			name[0] = '\0';
		(void)fclose(f);
	}
	return strcmp(name, NAME "\n") == 0;
}

/* Its pid, 0: none to be seen; those of other pid namespaces are not. */
static int find_process(void)
{
	DIR *d = opendir("/proc");
	const struct dirent *e;
	int found = 0;

	while (d && !found && (e = readdir(d))) {
		long pid = strtol(e->d_name, NULL, 10);

		if (pid > 0 && pid != (long)getpid() && has_name(e->d_name) && same_netns(e->d_name))
			found = (int)pid;
	}
	if (d)
		closedir(d);
	return found;
}

/* --- ports --- */

/* A listening socket, from a line of /proc/net/tcp or tcp6. */
struct listening {
	struct sockaddr_storage addr;
	socklen_t len;
	uint16_t port;
	unsigned long inode;
};

/* Words of 32 bits in the order of this machine, each holding bytes in that of the network. */
static bool parse_address(const char *hex, uint16_t port, struct listening *l)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&l->addr;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&l->addr;
	uint32_t words[4] = { 0 };
	size_t n = strlen(hex) / 8;

	if (n != 1 && n != 4)
		return false;
	for (size_t i = 0; i < n; i++)
		if (sscanf(hex + 8 * i, "%8x", &words[i]) != 1)
			return false;
	if (n == 1) {
		*v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
					    .sin_addr.s_addr = words[0] ? words[0] : htonl(INADDR_LOOPBACK) };
		l->len = sizeof(*v4);
		return true;
	}
	*v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
	memcpy(&v6->sin6_addr, words, sizeof(words));
	if (IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr))
		v6->sin6_addr = in6addr_loopback;
	l->len = sizeof(*v6);
	return true;
}

/* Those that listen come first: false at the first that does not. */
static bool parse_line(const char *line, struct listening *ret, bool *ret_good)
{
	unsigned port, state;
	char hex[33];

	*ret = (struct listening){ 0 };
	*ret_good = sscanf(line, "%*u: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu", hex, &port, &state,
			   &ret->inode) == 4;
	if (!*ret_good)
		return true;	/* the heading */
	ret->port = (uint16_t)port;
	*ret_good = parse_address(hex, ret->port, ret);
	return state == TCP_LISTEN;
}

static bool is_ours(unsigned long inode)
{
	DIR *d = opendir("/proc/self/fd");
	const struct dirent *e;
	char want[48], path[300], link[64];
	bool found = false;

	snprintf(want, sizeof(want), "socket:[%lu]", inode);
	while (d && !found && (e = readdir(d))) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
		n = readlink(path, link, sizeof(link) - 1);
		link[n > 0 ? n : 0] = '\0';
		found = strcmp(link, want) == 0;
	}
	if (d)
		closedir(d);
	return found;
}

/* All of it in the time that is left: one that sends a byte now and then must not hold us. */
static size_t read_answer(int fd, char *answer, size_t max)
{
	uint64_t until = kp_now_ms() + ANSWER_MS, now;
	size_t len = 0;

	while (len < max && (now = kp_now_ms()) < until) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t got = poll(&p, 1, (int)(until - now)) > 0 ? recv(fd, answer + len, max - len, MSG_DONTWAIT) : 0;

		if (got <= 0)
			break;
		len += (size_t)got;
	}
	return len;
}

static bool answers(const struct listening *l, const char *path)
{
	KP_AUTO(kp_closep) int fd = socket(l->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval limit = { .tv_usec = ANSWER_MS * 1000 };
	char request[128], answer[4096];

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (const struct sockaddr *)&l->addr, l->len) < 0)
		return false;
	snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		return false;
	answer[read_answer(fd, answer, sizeof(answer) - 1)] = '\0';
	return kp_is_kube_proxy(l->port, answer);
}

/* A port of kube-proxy's that somebody else has and answers as it does; 0: none. */
static uint16_t find_port(const char *file)
{
	FILE *f = fopen(file, "re");
	struct listening l;
	uint16_t found = 0;
	char line[512];
	bool good;

	while (f && !found && fgets(line, sizeof(line), f) && parse_line(line, &l, &good))
		for (size_t i = 0; good && i < KP_N(ports); i++)
			if (l.port == ports[i].port && !is_ours(l.inode) && answers(&l, ports[i].path))
				found = l.port;
	if (f)
		(void)fclose(f);
	return found;
}

void kp_life_look(struct kp_life_signs *ret)
{
	ret->pid = find_process();
	ret->port = find_port("/proc/net/tcp");
	if (!ret->port)
		ret->port = find_port("/proc/net/tcp6");
}
