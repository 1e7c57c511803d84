#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <netinet/in.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/fdline.h"
#include "proxy/base/inherit.h"
#include "proxy/base/instance.h"
#include "proxy/base/log.h"
#include "proxy/base/netadmin.h"
#include "proxy/predecessor.h"
#include "proxy/successor.h"

/* Lines with descriptors. */

static struct kp_fdline *one, *two;

static void setup_pair(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	one = kp_fdline_new(fds[0]);
	two = kp_fdline_new(fds[1]);
}

static void teardown_pair(void)
{
	kp_fdline_free(one);
	kp_fdline_free(two);
}

/* A pipe's end that holds one byte, to be told from others. */
static int marked(char mark)
{
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(write(fds[1], &mark, 1), 1);
	close(fds[1]);
	return fds[0];
}

START_TEST(every_line_has_its_descriptor)
{
	enum { N = 600 };	/* more than fit into the socket at once */
	const char *line;
	char want[32], mark;
	int n = 0, r = -EAGAIN;

	for (int i = 0; i < N; i++) {
		snprintf(want, sizeof(want), "line %d", i);
		kp_fdline_put(one, want, i % 3 ? marked((char)i) : -1);
	}
	while (n < N) {
		r = r == -EAGAIN ? kp_fdline_flush(one) : r;
		while (kp_fdline_get(two, &line) > 0) {
			snprintf(want, sizeof(want), "line %d", n);
			ck_assert_str_eq(line, want);
			if (n % 3) {
				int fd = kp_fdline_take_fd(two);

				ck_assert_int_eq(read(fd, &mark, 1), 1);
				ck_assert_int_eq(mark, (char)n);
				close(fd);
			}
			n++;
		}
	}
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(kp_fdline_take_fd(two), -1);
}
END_TEST

START_TEST(what_is_no_line)
{
	char junk[KP_FDLINE_MAX + 1];
	const char *line;

	memset(junk, 'x', sizeof(junk));
	ck_assert_int_eq(kp_fdline_get(two, &line), 0);
	ck_assert_int_eq(send(kp_fdline_fd(one), junk, KP_FDLINE_MAX - 1, 0), KP_FDLINE_MAX - 1);
	ck_assert_int_eq(kp_fdline_get(two, &line), 0);
	ck_assert_int_eq(send(kp_fdline_fd(one), "\n", 1, 0), 1);
	ck_assert_int_eq(kp_fdline_get(two, &line), 1);
	ck_assert_uint_eq(strlen(line), KP_FDLINE_MAX - 1);
	ck_assert_int_eq(send(kp_fdline_fd(one), junk, sizeof(junk), 0), (int)sizeof(junk));
	ck_assert_int_eq(kp_fdline_get(two, &line), -EPROTO);
}
END_TEST

START_TEST(an_end)
{
	const char *line;

	kp_fdline_put(one, "last", marked('x'));
	ck_assert_int_eq(kp_fdline_flush(one), 0);
	one = kp_fdline_free(one);
	ck_assert_int_eq(kp_fdline_get(two, &line), 1);
	ck_assert_str_eq(line, "last");
	ck_assert_int_eq(kp_fdline_get(two, &line), -ECONNRESET);
	kp_fdline_put(two, "anybody?", -1);
	ck_assert_int_eq(kp_fdline_flush(two), -EPIPE);
}
END_TEST

/* Inherited sockets. */

static int tcp(int family, bool only_v6, bool listens, uint16_t *ret_port)
{
	struct sockaddr_in6 a = { .sin6_family = (sa_family_t)family };
	int fd = socket(family, SOCK_STREAM, 0), on = only_v6;
	socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(a);

	if (fd < 0)
		return -1;
	if (family == AF_INET6)
		ck_assert_int_eq(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, len), 0);
	if (listens)
		ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*ret_port = ntohs(a.sin6_port);
	return fd;
}

START_TEST(the_kernel_says_what_a_socket_is)
{
	struct kp_inherit *in = kp_inherit_new(), *some;
	const struct kp_addr any = { .family = KP_IPV4 }, any6 = { .family = KP_IPV6 };
	struct kp_addr other = any;
	uint16_t port, port6 = 1, dual = 1, silent;
	int fd = tcp(AF_INET, false, true, &port), fd6 = tcp(AF_INET6, true, true, &port6);
	int fd_dual = tcp(AF_INET6, false, true, &dual);

	other.b[0] = 127;
	kp_inherit_add(in, "main", fd);
	kp_inherit_add(in, "silent", tcp(AF_INET, false, false, &silent));
	kp_inherit_add(in, "pipe", marked('p'));
	if (fd6 >= 0) {
		kp_inherit_add(in, "main", fd6);
		kp_inherit_add(in, "dual", fd_dual);
	}
	ck_assert_int_eq(kp_inherit_take(in, &other, port), -1);
	ck_assert_int_eq(kp_inherit_take(in, &any6, port), -1);
	ck_assert_int_eq(kp_inherit_take(in, &any, 0), -1);
	ck_assert_int_eq(kp_inherit_take(in, &any, silent), -1);
	ck_assert_int_eq(kp_inherit_take(in, &any6, dual), -1);
	ck_assert_int_eq(kp_inherit_take_named(in, "main"), -1);
	some = kp_inherit_split(in, "main");
	ck_assert_uint_eq(some->n, fd6 >= 0 ? 2 : 1);
	ck_assert_int_eq(kp_inherit_take(some, &any, port), fd);
	ck_assert_int_eq(kp_inherit_take(some, &any, port), -1);
	ck_assert_int_eq(kp_inherit_take(some, &any6, port6), fd6);
	ck_assert_int_ge(kp_inherit_take_named(in, "pipe"), 0);
	ck_assert_int_eq(kp_inherit_take(NULL, &any, port), -1);
	kp_inherit_free(in);
	kp_inherit_free(some);
}
END_TEST

/* The predecessor's patience. What it does otherwise is in tests/net/test_handover.py. */

static struct { int given, resumed, left; } did;
static struct event_base *base;
static struct kp_predecessor *asked;	/* of whom all this is said */
static bool busy;			/* it cannot give */
static bool told;			/* it is told to end once it has given */

static void tell_to_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	ck_assert(kp_predecessor_give_now(asked));
}

static struct kp_inherit *on_give(void *arg, struct kp_handover_node *ret, struct kp_err *err)
{
	(void)arg;
	did.given++;
	if (busy) {
		kp_err_set(err, -EBUSY, "busy");
		return NULL;
	}
	if (told)
		ck_assert_int_eq(event_base_once(base, -1, EV_TIMEOUT, tell_to_end, NULL, NULL), 0);
	*ret = (struct kp_handover_node){ 2, 3, { { "a", .ok = true }, { "b", .ok = false }, { "b", .ok = true } }, 3 };
	return kp_inherit_new();
}

static void on_resume(void *arg)
{
	(void)arg;
	did.resumed++;
	event_base_loopbreak(base);
}

static void on_leave(void *arg)
{
	(void)arg;
	did.left++;
	event_base_loopbreak(base);
}

static void on_orphaned(void *arg)
{
	(void)arg;
}

static int listen_anywhere(struct sockaddr_un *ret, socklen_t *ret_len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	ck_assert_int_eq(bind(fd, (struct sockaddr *)ret, sizeof(sa_family_t)), 0);	/* the kernel finds a name */
	*ret_len = sizeof(*ret);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret, ret_len), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	return fd;
}

/* fd goes with the first byte; taken. */
static void send_with(int sock, const char *lines, int fd)
{
	struct kp_fdline *l = kp_fdline_new(dup(sock));
	KP_AUTO(kp_freep) char *text = strndup(lines, strlen(lines) - 1);

	ck_assert_int_ge(fd, 0);
	kp_fdline_put(l, text, fd);
	ck_assert_int_eq(kp_fdline_flush(l), 0);
	kp_fdline_free(l);
}

/* A predecessor, who is said these lines. -> our end */
static int meet(const char *lines)
{
	static char name[] = "here", *node_name = name;
	struct sockaddr_un a;
	socklen_t len;
	int listening = listen_anywhere(&a, &len), fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct kp_predecessor_view view = {
		.instance = listening, .willing = true, .node_name = &node_name, .ready_ms = 50,
		.give = on_give, .resume = on_resume, .leave = on_leave, .orphaned = on_orphaned,
	};

	did = (typeof(did)){ 0 };
	kp_log_set_level(KP_LOG_ERROR);
	base = event_base_new();
	asked = kp_predecessor_new(base, &view);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, len), 0);
	send_with(fd, lines, kp_netadmin_prove(NULL));
	return fd;
}

static void part(int fd)
{
	kp_predecessor_free(asked);
	event_base_free(base);
	close(fd);
}

/* Until the predecessor has decided. -> all it answered. */
static char *talk(const char *lines, char *answers, size_t room)
{
	int fd = meet(lines);
	ssize_t n;

	event_base_dispatch(base);
	n = recv(fd, answers, room - 1, 0);
	answers[n > 0 ? n : 0] = '\0';
	part(fd);
	return answers;
}

#define HELLO	"{\"say\":\"hello\",\"protocol\":1,\"version\":\"x\",\"node\":\"here\",\"new\":[1]}\n"
#define TAKE	"{\"say\":\"take\"}\n"

START_TEST(no_ready_in_time)
{
	char answers[1024];

	talk(HELLO TAKE, answers, sizeof(answers));
	ck_assert_ptr_nonnull(strstr(answers, "{\"say\":\"given\",\"nodeState\":2,\"drain\":3,\"checks\":{\"a\":true,\"b\":false}}\n"));
	ck_assert_ptr_nonnull(strstr(answers, "was not ready in time"));
	ck_assert_int_eq(did.given, 1);
	ck_assert_int_eq(did.resumed, 1);
	ck_assert_int_eq(did.left, 0);
}
END_TEST

START_TEST(ready_in_time)
{
	char answers[1024];

	talk(HELLO TAKE "{\"say\":\"ready\"}\n", answers, sizeof(answers));
	ck_assert_ptr_nonnull(strstr(answers, "{\"say\":\"done\"}\n"));
	ck_assert_int_eq(did.given, 1);
	ck_assert_int_eq(did.resumed, 0);
	ck_assert_int_eq(did.left, 1);
}
END_TEST

/* Told to end it does not say that it carries on: two would have ended. */
START_TEST(no_ready_before_the_end)
{
	char answers[1024];

	told = true;
	talk(HELLO TAKE, answers, sizeof(answers));
	ck_assert_ptr_nonnull(strstr(answers, "\"given\""));
	ck_assert_msg(!strstr(answers, "\"no\""), "%s", answers);
	ck_assert_int_eq(did.resumed, 1);
}
END_TEST

START_TEST(nothing_to_give_at_the_end)
{
	char answers[1024];
	int fd = meet(HELLO);

	busy = true;
	while (recv(fd, answers, sizeof(answers), MSG_DONTWAIT) < 0)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert(!kp_predecessor_give_now(asked));
	ck_assert_int_eq(did.given, 1);
	event_base_loop(base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(recv(fd, answers, sizeof(answers), MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);	/* it waits until we are gone */
	part(fd);
}
END_TEST

/* The successor's patience. */

static void on_given(void *arg, struct kp_inherit *taken, const struct kp_handover_node *node)
{
	(void)arg, (void)taken, (void)node;
	ck_abort_msg("given");
}

static void on_alone(void *arg, struct kp_inherit *taken)
{
	(void)arg, (void)taken;
	ck_abort_msg("alone");
}

static void on_refused(void *arg, const char *why)
{
	(void)arg;
	ck_assert_str_eq(why, "it did not give its place in time");
	event_base_loopbreak(base);
}

/* An agent that says hello, and no more. */
static void hang(int listening)
{
	static const char hello[] = "{\"say\":\"hello\",\"protocol\":1}\n";
	int fd;

	ck_assert_int_eq(fcntl(listening, F_SETFL, 0), 0);
	fd = accept(listening, NULL, NULL);
	if (write(fd, hello, sizeof(hello) - 1) > 0)
		pause();
	_exit(0);
}

START_TEST(nothing_given_in_time)
{
	const struct kp_successor_view view = {
		.given = on_given, .alone = on_alone, .left_alone = on_orphaned, .refused = on_refused, .give_ms = 50,
	};
	struct kp_successor *s;
	int listening;
	pid_t pid;

	kp_log_set_level(KP_LOG_ERROR);
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	ck_assert_int_eq(kp_instance_take(&listening, NULL), 0);
	pid = fork();
	if (pid == 0)
		hang(listening);
	base = event_base_new();
	ck_assert_int_eq(kp_successor_new(&s, "here", NULL), 0);
	kp_successor_listen(s, base, &view);
	ck_assert(!kp_successor_may_write(s));
	event_base_dispatch(base);
	ck_assert(!kp_successor_may_write(s));
	kp_successor_free(s);
	event_base_free(base);
	close(listening);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("handover");
	TCase *lines = tcase_create("lines"), *other = tcase_create("other");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(lines, setup_pair, teardown_pair);
	tcase_add_test(lines, every_line_has_its_descriptor);
	tcase_add_test(lines, what_is_no_line);
	tcase_add_test(lines, an_end);
	tcase_add_test(other, the_kernel_says_what_a_socket_is);
	tcase_add_test(other, no_ready_in_time);
	tcase_add_test(other, ready_in_time);
	tcase_add_test(other, no_ready_before_the_end);
	tcase_add_test(other, nothing_to_give_at_the_end);
	tcase_add_test(other, nothing_given_in_time);
	suite_add_tcase(s, lines);
	suite_add_tcase(s, other);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
