#include <poll.h>

#include "proxy/base/cleanup.h"
#include "tests/support/health_lab.h"
#include "tests/support/report.h"

/* healthCheckNodePorts: health-and-probes B.4, rows of F.3. */

#define PORT 32000
#define V4 "127.0.0.1"
#define PATIENCE_MS 60000

#define WEB(ready4, ready6) { { "web", PORT, { ready4, ready6 }, 0 }, { .name = NULL } }
static const struct lab_service web_1[] = WEB(1, -1), web_0[] = WEB(0, -1), web_2[] = WEB(2, -1), web_dual[] = WEB(2, 1);

#define BODY(n, ok) "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n" \
	"\t\"localEndpoints\": " n ",\n\t\"serviceProxyHealthy\": " ok "\n}"

enum { TAINTED = 1, STALE = 2, STARTING = 4 };

static const struct {
	const char *name;
	const struct lab_service *services;
	unsigned how;
	const char *addr, *request;
	int status;
	const char *weight, *body;	/* NULL: not looked at */
} rows[] = {
	{ "S-01 one endpoint",	web_1, 0, V4, GET("/healthz"), 200, "1", BODY("1", "true") },
	{ "S-02 none here",	web_0, 0, V4, GET("/healthz"), 503, "0", BODY("0", "true") },
	{ "S-03 two",		web_2, 0, V4, GET("/healthz"), 200, "2", BODY("2", "true") },
	{ "S-05 /",		web_1, 0, V4, GET("/"), 200, "1", BODY("1", "true") },
	{ "S-05 /x/y",		web_1, 0, V4, GET("/x/y"), 200, "1", BODY("1", "true") },
	{ "S-05 OPTIONS *",	web_0, 0, V4, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 503, "0", BODY("0", "true") },
	{ "S-05 POST",		web_1, 0, V4, "POST / HTTP/1.1\r\nHost: x\r\n\r\n", 200, "1", BODY("1", "true") },
	{ "S-05 any method",	web_1, 0, V4, "PURGE /any%20thing HTTP/1.1\r\nHost: x\r\n\r\n", 200, "1", BODY("1", "true") },
	{ "B-15 OPTIONS /",	web_1, 0, V4, "OPTIONS / HTTP/1.0\r\n\r\n", 200, "1", BODY("1", "true") },
	{ "S-10 stale",		web_2, STALE, V4, GET("/"), 503, "2", BODY("2", "false") },
	{ "starting",		web_2, STARTING, V4, GET("/"), 503, "2", BODY("2", "false") },
	{ "S-11 tainted",	web_1, TAINTED, V4, GET("/"), 200, "1", BODY("1", "true") },
	{ "S-12 dual, IPv4",	web_dual, 0, V4, GET("/"), 200, "2", BODY("2", "true") },
	{ "S-12 dual, IPv6",	web_dual, 0, "::1", GET("/"), 200, "1", BODY("1", "true") },
	{ "S-12 single, IPv6",	web_2, 0, "::1", GET("/"), 200, "2", BODY("2", "true") },
	{ "S-20 verbose",	web_0, 0, V4, GET("/?verbose"), 503, "0", NULL },
	{ "P-25 PROXY",		web_1, 0, V4, "PROXY UNKNOWN\r\n" GET("/"), 200, "1", NULL },
};

START_TEST(row)
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct hz_state *state = lab_state(rows[_i].services);
	char weight[64];
	struct reply r;
	int n;

	state->node_eligible = !(rows[_i].how & TAINTED);
	state->started = !(rows[_i].how & STARTING);
	hz_server_publish(s, rows[_i].how & STALE ? lab_stale(state) : state);
	ck_assert_int_ge(wait_for(rows[_i].addr, PORT, rows[_i].status, PATIENCE_MS), 0);
	n = ask(rows[_i].addr, PORT, rows[_i].request, &r);
	ck_assert_msg(n == rows[_i].status, "%s: %d", rows[_i].name, n);
	snprintf(weight, sizeof(weight), "\r\nX-Load-Balancing-Endpoint-Weight: %s\r\n", rows[_i].weight);
	ck_assert_msg(strstr(r.head, weight) != NULL, "%s: weight\n%s", rows[_i].name, r.head);
	ck_assert_msg(!rows[_i].body || strcmp(r.body, rows[_i].body) == 0, "%s:\n%s", rows[_i].name, r.body);
	ck_assert_msg(rows[_i].body || _i == KP_N(rows) - 1 || strstr(r.body, "\"reason\": \"noLocalEndpoints\""), "%s", r.body);
	hz_server_stop(s);
}
END_TEST

/* Inode of the IPv4 socket that listens on the port; 0: none. */
static unsigned long listen_inode(uint16_t port)
{
	unsigned long inode, found = 0;
	unsigned local_port, state;
	FILE *f = fopen("/proc/self/net/tcp", "re");
	char line[256];

	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " %*u: %*8x:%4x %*x:%*x %2x %*s %*s %*s %*s %*s %lu", &local_port, &state, &inode) == 3 &&
		    local_port == port && state == TCP_LISTEN)
			found = inode;
	fclose(f);
	return found;
}

START_TEST(s07_unrelated_updates)
{
	struct lab_service many[] = { { "other", 32100, { 1, -1 }, 0 }, { "web", PORT, { 1, -1 }, 0 },
				      { "zoo", 32101, { 1, -1 }, 0 }, { .name = NULL } };
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	unsigned long inode;

	hz_server_publish(s, lab_state(many));
	ck_assert_int_ge(wait_for(V4, PORT, 200, PATIENCE_MS), 0);
	inode = listen_inode(PORT);
	ck_assert_uint_ne(inode, 0);
	for (int i = 0; i < 100; i++) {
		many[0].ready[0] = i % 3;
		many[2].port = (uint16_t)(32101 + i);
		many[2].name = i % 10 ? "zoo" : NULL;
		hz_server_publish(s, lab_state(many));
		ck_assert_int_eq(get_healthz(V4, PORT), 200);
		ck_assert_uint_eq(listen_inode(PORT), inode);
	}
	hz_server_stop(s);
}
END_TEST

START_TEST(s13_deletion)	/* trap T2: never an empty 200 */
{
	enum { CLIENTS = 50 };
	const int rounds = getenv("HEALTH_FULL") ? 100 : 20;
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct client *c = kp_calloc(CLIENTS, sizeof(*c));

	for (int round = 0; round < rounds; round++) {
		hz_server_publish(s, lab_state(web_1));
		ck_assert_int_ge(wait_for(V4, PORT, 200, PATIENCE_MS), 0);
		for (int i = 0; i < CLIENTS; i++) {
			must_dial(&c[i], V4, PORT);
			say(&c[i], GET("/"));
		}
		hz_server_publish(s, lab_state(NULL));
		for (int i = 0; i < CLIENTS; i++) {
			struct reply r;
			int n = hear_reply(&c[i], false, &r);

			ck_assert_msg(n == 0, "round %d, client %d: %d", round, i, n);
			ck_assert(r.status == 200 ? strcmp(r.body, BODY("1", "true")) == 0 :
				  r.status == 503 && strcmp(r.body, BODY("0", "true")) == 0);
			if (r.status == 200) {
				say(&c[i], GET("/"));
				ck_assert_int_eq(hear_reply(&c[i], false, &r), 0);
				ck_assert_int_eq(r.status, 503);
				ck_assert_str_eq(r.body, BODY("0", "true"));
			}
			ck_assert_ptr_nonnull(strstr(r.head, "\r\nConnection: close\r\n"));
			ck_assert_int_eq(hear_end(&c[i]), 0);
			hang_up(&c[i]);
		}
		ck_assert_int_ge(wait_for(V4, PORT, -ECONNREFUSED, PATIENCE_MS), 0);
	}
	free(c);
	hz_server_stop(s);
}
END_TEST

START_TEST(port_moves)
{
	static const struct lab_service there[] = { { "web", 32001, { 1, -1 }, 0 }, { .name = NULL } };
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct reply r;
	struct client c;

	hz_server_publish(s, lab_state(web_1));
	ck_assert_int_ge(wait_for(V4, PORT, 200, PATIENCE_MS), 0);
	must_dial(&c, V4, PORT);
	say(&c, GET("/"));
	ck_assert_int_eq(hear_reply(&c, false, &r), 0);
	hz_server_publish(s, lab_state(there));
	say(&c, GET("/"));
	ck_assert_int_eq(hear_reply(&c, false, &r), 0);
	ck_assert_int_eq(r.status, 503);	/* the old connection is of no Service now */
	hang_up(&c);
	ck_assert_int_ge(wait_for(V4, 32001, 200, PATIENCE_MS), 0);
	ck_assert_int_ge(wait_for(V4, PORT, -ECONNREFUSED, PATIENCE_MS), 0);
	hz_server_stop(s);
}
END_TEST

/* Whether it is open, and why not. */
static void expect_up(struct hz_server *s, const char *name, const char *problem)
{
	struct hz_report *r = lab_report(s);
	const struct hz_listener_report *l = lab_listener(r, name);

	ck_assert_msg(!problem == !l->problem, "%s: '%s'", name, l->problem ? l->problem : "");
	ck_assert_msg(!problem || strstr(l->problem, problem), "%s: '%s'", name, l->problem);
	hz_report_free(r);
}

/* The next failure there is to tell. */
static struct hz_failure failure(struct hz_server *s)
{
	struct pollfd told = { .fd = hz_server_failure_fd(s), .events = POLLIN };
	struct hz_failure f = { .port = 0 };

	ck_assert_int_eq(poll(&told, 1, PATIENCE_MS), 1);
	ck_assert(hz_server_take_failure(s, &f));
	return f;
}

START_TEST(s16_contested_port)
{
	struct lab_service two[] = { { "older", PORT, { 1, -1 }, 10 }, { "younger", PORT, { 2, -1 }, 20 }, { .name = NULL } };
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct reply r = { 0 };
	struct hz_failure f;

	hz_server_publish(s, lab_state(two));
	f = failure(s);
	ck_assert_msg(strcmp(f.name, "younger") == 0 && f.port == PORT, "%s: port %u", f.name, f.port);
	ck_assert_str_eq(f.why, "it belongs to an older Service");
	ck_assert_int_ge(wait_for(V4, PORT, 200, PATIENCE_MS), 0);
	ck_assert(!hz_server_take_failure(s, &f));
	ck_assert_int_eq(ask(V4, PORT, GET("/"), &r), 200);
	ck_assert_ptr_nonnull(strstr(r.body, "\"older\""));
	expect_up(s, "svc/default/older", NULL);
	expect_up(s, "svc/default/younger", "belongs to an older Service");
	hz_server_publish(s, lab_state(two + 1));
	for (int i = 0; i < 6000 && !strstr(r.body, "\"younger\""); i++) {
		usleep(5000);
		(void)ask(V4, PORT, GET("/"), &r);
	}
	ck_assert_ptr_nonnull(strstr(r.body, "\"younger\""));
	hz_server_publish(s, lab_state(two));		/* comes back, and is still the older one */
	for (int i = 0; i < 6000 && !strstr(r.body, "\"older\""); i++) {
		usleep(5000);
		(void)ask(V4, PORT, GET("/"), &r);
	}
	ck_assert_ptr_nonnull(strstr(r.body, "\"older\""));
	hz_server_stop(s);
}
END_TEST

/* S-17, and what happens when the list changes: every step is one state. "": any address. */
static const struct {
	const char *listen, *yes, *no;
} steps[] = {
	{ "10.240.0.4", "10.240.0.4", V4 },
	{ "10.240.0.5", "10.240.0.5", "10.240.0.4" },
	{ "", V4, NULL },
	{ "2001:db8::4", "2001:db8::4", V4 },
	{ "10.240.0.4", "10.240.0.4", "2001:db8::4" },
};

START_TEST(s17_addresses)
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });

	for (size_t i = 0; i < KP_N(steps); i++) {
		struct hz_state *state = lab_state(web_1);

		if (steps[i].listen[0])
			lab_listen_only(state, steps[i].listen);
		hz_server_publish(s, state);
		ck_assert_msg(wait_for(steps[i].yes, PORT, 200, PATIENCE_MS) >= 0, "step %zu: %s", i, steps[i].yes);
		if (steps[i].no)
			ck_assert_msg(wait_for(steps[i].no, PORT, -ECONNREFUSED, PATIENCE_MS) >= 0, "step %zu: %s", i, steps[i].no);
	}
	hz_server_stop(s);
}
END_TEST

static int occupy(uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

START_TEST(b36_s15_foreign_listener)
{
	int shared = occupy(10356), service = occupy(PORT);
	struct hz_server *s = lab_start((struct hz_options){ 0 });

	hz_server_publish(s, lab_state(web_1));
	ck_assert_int_eq(get_healthz(V4, 10256), 200);
	ck_assert_int_ge(wait_for("::1", PORT, 200, PATIENCE_MS), 0);	/* the family that is free works */
	expect_up(s, "main", NULL);
	expect_up(s, "shared", "cannot listen on 0.0.0.0:10356: Address already in use");
	expect_up(s, "svc/default/web", "0.0.0.0:32000");
	close(shared);
	close(service);
	ck_assert_int_ge(wait_for(V4, 10356, 200, PATIENCE_MS), 0);
	ck_assert_int_ge(wait_for(V4, PORT, 200, PATIENCE_MS), 0);
	expect_up(s, "shared", NULL);
	expect_up(s, "svc/default/web", NULL);
	hz_server_stop(s);
}
END_TEST

START_TEST(hard_fail)
{
	const struct hz_listen listen = { .name = "main", .port = 10256 };
	const struct hz_options opt = { .listen = &listen, .n_listen = 1, .hard_fail = true };
	struct hz_server *s = NULL;
	struct kp_err err = { 0 };
	int fd = occupy(10256);

	ck_assert_int_eq(hz_server_start(&s, &opt, &err), -EADDRINUSE);
	ck_assert_ptr_null(s);
	ck_assert_ptr_nonnull(strstr(err.msg, "0.0.0.0:10256"));
	close(fd);
}
END_TEST

static struct rlimit descriptors(rlim_t max)
{
	struct rlimit before, now;

	getrlimit(RLIMIT_NOFILE, &before);
	now = (struct rlimit){ .rlim_cur = max, .rlim_max = before.rlim_max };
	setrlimit(RLIMIT_NOFILE, &now);
	return before;
}

/* A client whose connection the server cannot accept: there are no descriptors until the limit is put back. */
static struct client starve(uint16_t port, struct rlimit *ret_before)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	struct client c = { .fd = socket(AF_INET, SOCK_STREAM, 0) };

	setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	*ret_before = descriptors(1);
	ck_assert_int_eq(connect(c.fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return c;
}

START_TEST(b38_no_descriptors)	/* an idle connection makes room, and answers go on when descriptors are back */
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct client idle, late;
	struct rlimit before;
	struct reply r;
	uint64_t start;

	hz_server_publish(s, lab_state(NULL));
	must_dial(&idle, V4, 10256);
	say(&idle, GET("/healthz"));
	ck_assert_int_eq(hear_reply(&idle, false, &r), 0);
	late = starve(10256, &before);
	say(&late, GET("/healthz"));
	ck_assert_int_eq(hear_end(&idle), 0);
	usleep(50000);
	setrlimit(RLIMIT_NOFILE, &before);
	start = kp_now_ms();
	ck_assert_int_eq(hear_reply(&late, false, &r), 0);
	ck_assert_int_eq(r.status, 200);
	ck_assert_uint_le(kp_now_ms() - start, 5000);
	hang_up(&idle);
	hang_up(&late);
	hz_server_stop(s);
}
END_TEST

START_TEST(queue_at_close)	/* peers that wait to be accepted when the Service goes get an answer, not a reset */
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct client idle, late;
	struct rlimit before;
	struct reply r;

	hz_server_publish(s, lab_state(web_1));
	ck_assert_int_ge(wait_for(V4, PORT, 200, PATIENCE_MS), 0);
	must_dial(&idle, V4, PORT);
	say(&idle, GET("/"));
	ck_assert_int_eq(hear_reply(&idle, false, &r), 0);
	late = starve(PORT, &before);
	ck_assert_int_eq(hear_end(&idle), 0);		/* now accepting pauses */
	setrlimit(RLIMIT_NOFILE, &before);
	hz_server_publish(s, lab_state(NULL));
	usleep(20000);
	say(&late, GET("/"));
	ck_assert_int_eq(hear_reply(&late, false, &r), 0);
	ck_assert_int_eq(r.status, 503);
	ck_assert_str_eq(r.body, BODY("0", "true"));
	ck_assert_int_ge(wait_for(V4, PORT, -ECONNREFUSED, PATIENCE_MS), 0);
	hang_up(&idle);
	hang_up(&late);
	hz_server_stop(s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("health-services");
	TCase *tc = tcase_create("services");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, row, 0, KP_N(rows));
	tcase_add_test(tc, s07_unrelated_updates);
	tcase_add_test(tc, s13_deletion);
	tcase_add_test(tc, port_moves);
	tcase_add_test(tc, s16_contested_port);
	tcase_add_test(tc, s17_addresses);
	tcase_add_test(tc, b36_s15_foreign_listener);
	tcase_add_test(tc, hard_fail);
	tcase_add_test(tc, b38_no_descriptors);
	tcase_add_test(tc, queue_at_close);
	suite_add_tcase(s, tc);
	return run_in_netns(s, lab_prepare);
}
