#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/support/health_lab.h"
#include "tests/support/report.h"

/*
 * How much the health ports can bear: rows of health-and-probes F that are about numbers. They
 * are scaled to a second each and print what they measured; HEALTH_FULL=1 takes the times
 * and counts of the specification, and holds to its limits where other work on the machine counts.
 */

#define HERE "127.0.0.1"

static bool full(void)
{
	return getenv("HEALTH_FULL");
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static double percentile(double *ms, size_t n, unsigned percent)
{
	qsort(ms, n, sizeof(*ms), by_size);
	return ms[(n - 1) * percent / 100];
}

static void allow_files(rlim_t n)
{
	struct rlimit l = { n, n };

	if (setrlimit(RLIMIT_NOFILE, &l) < 0)
		ck_assert_msg(errno == EPERM, "setrlimit: %s", strerror(errno));
}

/* A child that runs until it is killed, with a limit of descriptors of its own. */
static pid_t spawn(void (*run)(unsigned), unsigned arg)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		allow_files(arg + 1024);
		run(arg);
		_exit(0);
	}
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Half a head on n connections as fast as it goes, then on others in the place of the oldest, a thousand each second. */
static void flood(unsigned n)
{
	static const char half[] = "GET /healthz HTTP/1.1\r\nHost:";
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(10256), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct linger hard = { 1, 0 };	/* or their ports run out in TIME_WAIT */
	int *fds = kp_calloc(n, sizeof(*fds));

	for (unsigned i = 0;; i = (i + 1) % n) {
		if (fds[i]) {
			close(fds[i]);
			usleep(1000);
		}
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		if (connect(fds[i], (struct sockaddr *)&to, sizeof(to)) == 0)
			send(fds[i], half, sizeof(half) - 1, MSG_NOSIGNAL);
	}
}

static unsigned n_open(const struct hz_report *r)
{
	unsigned n = 0;

	for (size_t i = 0; i < r->n_listeners; i++)
		n += r->listeners[i].n_open;
	return n;
}

/* As the name says; the milliseconds it took, or a failure. */
static double probe_once(void)
{
	uint64_t start = kp_now_ns();
	int status = get_healthz(HERE, 10256);

	ck_assert_msg(status == 200, "a good probe got %d", status);
	return (double)(kp_now_ns() - start) / 1e6;
}

START_TEST(b31_flood)
{
	const unsigned n_probes = full() ? 3000 : 100;
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	double *ms = kp_calloc(n_probes, sizeof(*ms));
	unsigned most = 0;
	struct hz_report *r;
	pid_t child;

	hz_server_publish(s, lab_state(NULL));
	child = spawn(flood, full() ? 10000 : 4000);
	for (unsigned i = 0; i < 6000; i++) {	/* until it evicts */
		r = lab_report(s);
		i = r->n_evicted ? 6000 : i;
		hz_report_free(r);
		usleep(10000);
	}
	for (unsigned i = 0; i < n_probes; i++) {
		ms[i] = probe_once();
		r = lab_report(s);
		most = n_open(r) > most ? n_open(r) : most;
		if (i == n_probes - 1)
			printf("B-31: %llu half heads evicted, %u open at most; ", (unsigned long long)r->n_evicted, most);
		hz_report_free(r);
		usleep(10000);
	}
	end_child(child);
	printf("good probes: median %.1f ms, 99 %% %.1f ms, longest %.1f ms\n", percentile(ms, n_probes, 50),
	       percentile(ms, n_probes, 99), percentile(ms, n_probes, 100));
	ck_assert_uint_le(most, 1024);
	ck_assert_uint_gt(most, 1000);
	ck_assert_msg(percentile(ms, n_probes, 99) < (full() ? 50 : 2000), "99 %% of the good probes take %.1f ms", percentile(ms, n_probes, 99));
	free(ms);
	hz_server_stop(s);
}
END_TEST

/* One request on each connection in turn, each at its time; how long each answer took. */
static void ask_in_turn(struct client *c, unsigned n_clients, unsigned n, unsigned per_second, double *ms)
{
	uint64_t start = kp_now_ns();

	for (unsigned i = 0; i < n; i++) {
		uint64_t due = start + i * (S_NS / per_second), now = kp_now_ns();
		struct client *one = &c[i % n_clients];
		struct reply r;

		if (now < due)
			usleep((useconds_t)((due - now) / 1000));
		now = kp_now_ns();
		say(one, GET("/healthz"));
		ck_assert_int_eq(hear_reply(one, false, &r), 0);
		ck_assert_int_eq(r.status, 200);
		ms[i] = (double)(kp_now_ns() - now) / 1e6;
	}
}

START_TEST(b35_rate)	/* as a blocked commit sees it: the thread that publishes does nothing meanwhile */
{
	enum { CLIENTS = 512, RATE = 2000 };
	const unsigned n = RATE * (full() ? 60 : 1);
	struct hz_server *s = lab_start((struct hz_options){ .policy.limits.max_requests = 1000000 });
	struct client *c = kp_calloc(CLIENTS, sizeof(*c));
	double *ms = kp_calloc(n, sizeof(*ms));

	hz_server_publish(s, lab_state(NULL));
	for (int i = 0; i < CLIENTS; i++)
		must_dial(&c[i], HERE, 10256);
	ask_in_turn(c, CLIENTS, n, RATE, ms);
	printf("B-35: %u requests on %d connections: median %.2f ms, 99 %% %.2f ms\n", n, CLIENTS, percentile(ms, n, 50),
	       percentile(ms, n, 99));
	ck_assert_msg(percentile(ms, n, 99) < (full() ? 5 : 2000), "99 %% of the answers take %.1f ms", percentile(ms, n, 99));
	for (int i = 0; i < CLIENTS; i++)
		hang_up(&c[i]);
	free(c);
	free(ms);
	hz_server_stop(s);
}
END_TEST

/* Kilobytes of our own that are in memory. */
static long anonymous_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long kib = -1;

	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

static struct lab_service *thousand(void)
{
	struct lab_service *many = kp_calloc(1001, sizeof(*many));

	for (unsigned i = 0; i < 1000; i++)
		many[i] = (struct lab_service){ kp_asprintf("web-%04u", i), (uint16_t)(30000 + i), { 1, 1 }, 0 };
	return many;
}

START_TEST(s18_thousand)
{
	struct lab_service *many = thousand();
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct hz_state *state = lab_state(many);
	struct hz_report *r;
	uint64_t start;
	double ms, kib;
	long before;

	hz_server_publish(s, lab_state(NULL));
	ck_assert_int_eq(get_healthz(HERE, 10256), 200);
	hz_report_free(lab_report(s));
	before = anonymous_kib();
	start = kp_now_ns();
	hz_server_publish(s, state);
	ck_assert_int_ge(wait_for("::1", 30999, 200, 60000), 0);
	ms = (double)(kp_now_ns() - start) / 1e6;
	kib = (double)(anonymous_kib() - before) / 1000;
	printf("S-18: 1000 health ports open after %.0f ms, %.2f KiB each\n", ms, kib);
	ck_assert_msg(ms < (full() ? 500 : 10000), "%.0f ms", ms);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)	/* which have memory of their own for each of ours */
	ck_assert_msg(kib < 4, "%.2f KiB", kib);
#endif
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_int_eq(get_healthz(i % 2 ? HERE : "::1", (uint16_t)(30000 + i)), 200);
	start = kp_now_ns();
	r = lab_report(s);
	printf("      and are told of in %.2f ms\n", (double)(kp_now_ns() - start) / 1e6);
	ck_assert_uint_eq(r->n_listeners, 1002);
	hz_report_free(r);
	hz_server_stop(s);
	for (unsigned i = 0; i < 1000; i++)
		free((char *)many[i].name);
	free(many);
}
END_TEST

/* Connections that stay, with nothing on them. */
static void occupy_descriptors(unsigned n)
{
	struct client c;

	for (unsigned i = 0; i < n; i++)
		if (dial(&c, HERE, 10256) < 0)
			break;
	for (;;)
		pause();
}

START_TEST(b38_reserve)	/* however many connect: the API, netlink and files find descriptors */
{
	enum { LIMIT = 256, RESERVED = 64 };
	struct rlimit before, low;
	struct hz_server *s;
	unsigned got = 0;
	int fds[LIMIT];
	pid_t child;

	getrlimit(RLIMIT_NOFILE, &before);
	low = (struct rlimit){ LIMIT, before.rlim_max };
	setrlimit(RLIMIT_NOFILE, &low);
	s = lab_start((struct hz_options){ 0 });
	hz_server_publish(s, lab_state(NULL));
	child = spawn(occupy_descriptors, 500);
	for (int i = 0; i < 6000; i++) {
		struct hz_report *r = lab_report(s);
		bool enough = r->n_evicted > 200;

		hz_report_free(r);
		if (enough)
			break;
		usleep(10000);
	}
	ck_assert_int_eq(get_healthz(HERE, 10256), 200);
	while (got < LIMIT && (fds[got] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		got++;
	printf("B-38: %u descriptors are left of %d\n", got, LIMIT);
	ck_assert_msg(got >= RESERVED - 2, "%u descriptors are left", got);	/* our own prober may have come in between */
	while (got)
		close(fds[--got]);
	end_child(child);
	hz_server_stop(s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("health-load");
	TCase *tc = tcase_create("load");

	setvbuf(stdout, NULL, _IOLBF, 0);
	tcase_set_timeout(tc, full() ? 200 : 30);
	tcase_add_test(tc, b31_flood);
	tcase_add_test(tc, b35_rate);
	tcase_add_test(tc, s18_thousand);
	tcase_add_test(tc, b38_reserve);
	suite_add_tcase(s, tc);
	return run_in_netns(s, lab_prepare);
}
