#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/answer.h"
#include "healthz/port.h"
#include "healthz/request.h"
#include "healthz/state.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"

#define S 1000000000ull
#define WALL 1772359205000000001ull	/* 2026-03-01T10:00:05.000000001Z */
#define WALL_4S_AGO (WALL - 4 * S - 1)
#define NOW (1000 * S)

/* The states that the tables name. */
enum which { GOOD, STALE_V6, TAINTED, STARTING, V4_ONLY, DRAINED, CHECKED, LENIENT, UNKNOWN };

static struct hz_service services[] = {
	{ .ns = (char *)"default", .name = (char *)"broken", .port = 32004, .has_family = { 1, 1 }, .local_ready = { 2, 1 },
	  .broken = { "refused" } },
	{ .ns = (char *)"default", .name = (char *)"dual", .port = 32001, .has_family = { 1, 1 }, .local_ready = { 2, 1 } },
	{ .ns = (char *)"default", .name = (char *)"none", .port = 32002, .has_family = { 1, 1 } },
	{ .ns = (char *)"default", .name = (char *)"q\"\\\n", .port = 32003, .has_family = { 1 }, .local_ready = { 1 } },
	{ .ns = (char *)"default", .name = (char *)"web", .port = 32000, .has_family = { 1 }, .local_ready = { 1 } },
};
static struct hz_services table = { .refs = 1, .items = services, .n = KP_N(services) };

static const struct hz_state states[] = {
	[GOOD] = { .started = true, .node_eligible = true, .stale_ns = 60 * S, .services = &table,
		   .family = { { true, WALL_4S_AGO, 0, 0 }, { true, WALL_4S_AGO, 0, 0 } } },
	[STALE_V6] = { .started = true, .node_eligible = true, .stale_ns = 60 * S, .services = &table,
		       .family = { { true, WALL_4S_AGO, 0, 0 }, { true, 0, NOW - 61 * S, 0 } } },
	[TAINTED] = { .started = true, .stale_ns = 60 * S, .services = &table,
		      .family = { { true, WALL_4S_AGO, 0, 0 }, { true, WALL_4S_AGO, 0, 0 } } },
	[STARTING] = { .node_eligible = true, .stale_ns = 60 * S, .services = &table, .family = { { .enabled = true } } },
	[DRAINED] = { .started = true, .node_eligible = true, .stale_ns = 60 * S, .services = &table,
		      .node = { .draining = true, .draining_services = true },
		      .family = { { true, WALL_4S_AGO, 0, 0 }, { true, WALL_4S_AGO, 0, 0 } } },
	[CHECKED] = { .started = true, .node_eligible = true, .stale_ns = 60 * S, .services = &table,
		      .node = { .told = HZ_NODE_RECYCLING, .n_checks = 2,
				.checks = { { .name = "cpu", .ok = true, .has_value = true, .value = 37.5 }, { .name = "disk" } } },
		      .family = { { true, WALL_4S_AGO, 0, 0 }, { true, WALL_4S_AGO, 0, 0 } } },
	[LENIENT] = { .node_eligible = true, .lenient = true, .stale_ns = 60 * S, .family = { { .enabled = true } } },
	[V4_ONLY] = { .started = true, .node_eligible = true, .stale_ns = 60 * S, .services = &table,
		      .family = { { true, WALL_4S_AGO, NOW - 1500000000, 0 } } },
};

static struct hz_port node = { .refs = 1, .ns = (char *)"", .name = (char *)"main", .number = 10256 };

#define NOW_TEXT "2026-03-01T10:00:05.000000001Z"
#define OLD_TEXT "2026-03-01T10:00:01Z"
#define NEVER_TEXT "0001-01-01T00:00:00Z"
#define FAMILY(name, when, ok) "\"" name "\":{\"lastUpdated\":\"" when "\",\"healthy\":" ok "}"
#define BOTH_GOOD "\"status\":{" FAMILY("IPv4", OLD_TEXT, "true") "," FAMILY("IPv6", OLD_TEXT, "true") "}"
#define TIMES(updated) "{\"lastUpdated\":\"" updated "\",\"currentTime\":\"" NOW_TEXT "\","
#define SERVICE(name, n, ok) "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"" name \
	"\"\n\t},\n\t\"localEndpoints\": " n ",\n\t\"serviceProxyHealthy\": " ok "\n}"

/* B.3 and B.4, to the byte. */
static const struct {
	const char *name;
	enum which state;
	const char *target;	/* of a node port; or of the Service's port */
	const char *service;	/* NULL: node */
	enum kp_family family;
	int status;
	const char *body;
} bodies[] = {
	{ "healthz",		GOOD, "/healthz", NULL, KP_IPV4, 200,
		TIMES(NOW_TEXT) "\"nodeEligible\":true,\"healthy\":true," BOTH_GOOD ",\"state\":\"Ready\"}" },
	{ "livez",		GOOD, "/livez", NULL, KP_IPV4, 200, TIMES(NOW_TEXT) "\"healthy\":true," BOTH_GOOD "}" },
	{ "healthz stale",	STALE_V6, "/healthz", NULL, KP_IPV4, 503,
		TIMES(OLD_TEXT) "\"nodeEligible\":true,\"healthy\":false,\"status\":{" FAMILY("IPv4", OLD_TEXT, "true") ","
		FAMILY("IPv6", NEVER_TEXT, "false") "},\"state\":\"Ready\"}" },
	{ "livez stale",	STALE_V6, "/livez", NULL, KP_IPV4, 503,
		TIMES(OLD_TEXT) "\"healthy\":false,\"status\":{" FAMILY("IPv4", OLD_TEXT, "true") ","
		FAMILY("IPv6", NEVER_TEXT, "false") "}}" },
	{ "healthz tainted",	TAINTED, "/healthz", NULL, KP_IPV4, 503,
		TIMES(NOW_TEXT) "\"nodeEligible\":false,\"healthy\":true," BOTH_GOOD ",\"state\":\"Ready\"}" },
	{ "livez tainted",	TAINTED, "/livez", NULL, KP_IPV4, 200, TIMES(NOW_TEXT) "\"healthy\":true," BOTH_GOOD "}" },
	{ "healthz starting",	STARTING, "/healthz", NULL, KP_IPV4, 503,
		TIMES(NEVER_TEXT) "\"nodeEligible\":true,\"healthy\":true,\"status\":{" FAMILY("IPv4", NEVER_TEXT, "true")
		"},\"state\":\"Busy\"}" },
	{ "livez starting",	STARTING, "/livez", NULL, KP_IPV4, 200,
		TIMES(NOW_TEXT) "\"healthy\":true,\"status\":{" FAMILY("IPv4", NEVER_TEXT, "true") "}}" },
	{ "healthz drained",	DRAINED, "/healthz", NULL, KP_IPV4, 503,
		TIMES(NOW_TEXT) "\"nodeEligible\":true,\"healthy\":true," BOTH_GOOD ",\"state\":\"Stopping\"}" },
	{ "livez drained",	DRAINED, "/livez", NULL, KP_IPV4, 200, TIMES(NOW_TEXT) "\"healthy\":true," BOTH_GOOD "}" },
	{ "Service drained",	DRAINED, "/", "web", KP_IPV4, 503, SERVICE("web", "1", "true") },
	{ "healthz recycling",	CHECKED, "/healthz", NULL, KP_IPV4, 200,
		TIMES(NOW_TEXT) "\"nodeEligible\":true,\"healthy\":true," BOTH_GOOD ",\"state\":\"Recycling\"}" },
	{ "healthz compat",	LENIENT, "/healthz", NULL, KP_IPV4, 200,
		TIMES(NOW_TEXT) "\"nodeEligible\":true,\"healthy\":true,\"status\":{" FAMILY("IPv4", NEVER_TEXT, "true")
		"},\"state\":\"Busy\"}" },
	{ "agent",		GOOD, "/agent", NULL, KP_IPV4, 200, "{\"state\":\"Ready\",\"checks\":[]}" },
	{ "agent tainted",	TAINTED, "/agent?x", NULL, KP_IPV4, 200, "{\"state\":\"Ready\",\"checks\":[]}" },
	{ "agent stale",	STALE_V6, "/agent", NULL, KP_IPV4, 503, "{\"state\":\"Ready\",\"checks\":[]}" },
	{ "agent starting",	STARTING, "/agent", NULL, KP_IPV4, 503, "{\"state\":\"Busy\",\"checks\":[]}" },
	{ "agent unknown",	UNKNOWN, "/agent", NULL, KP_IPV4, 503, "{\"state\":\"Busy\",\"checks\":[]}" },
	{ "agent checks",	CHECKED, "/agent", NULL, KP_IPV4, 503, "{\"state\":\"Recycling\",\"checks\":["
		"{\"name\":\"cpu\",\"ok\":true,\"value\":37.5},{\"name\":\"disk\",\"ok\":false}]}" },
	{ "healthz unknown",	UNKNOWN, "/healthz", NULL, KP_IPV4, 503,
		TIMES(NEVER_TEXT) "\"nodeEligible\":false,\"healthy\":true,\"state\":\"Busy\"}" },
	{ "livez unknown",	UNKNOWN, "/livez", NULL, KP_IPV4, 200, TIMES(NOW_TEXT) "\"healthy\":true}" },
	{ "one family",		V4_ONLY, "/livez", NULL, KP_IPV6, 200,
		TIMES(NOW_TEXT) "\"healthy\":true,\"status\":{" FAMILY("IPv4", OLD_TEXT, "true") "}}" },
	{ "healthz verbose",	V4_ONLY, "/healthz?verbose", NULL, KP_IPV6, 200,
		TIMES(NOW_TEXT) "\"nodeEligible\":true,\"healthy\":true,\"status\":{" FAMILY("IPv4", OLD_TEXT, "true")
		"},\"state\":\"Ready\",\"reason\":\"ok\",\"family\":\"IPv6\",\"generation\":0,\"pendingSeconds\":1.500}" },
	{ "service",		GOOD, "/healthz", "web", KP_IPV4, 200, SERVICE("web", "1", "true") },
	{ "service any path",	GOOD, "/x/y", "web", KP_IPV4, 200, SERVICE("web", "1", "true") },
	{ "service tainted",	TAINTED, "/", "web", KP_IPV4, 200, SERVICE("web", "1", "true") },
	{ "service stale",	STALE_V6, "/", "dual", KP_IPV4, 503, SERVICE("dual", "2", "false") },
	{ "service starting",	STARTING, "/", "web", KP_IPV4, 503, SERVICE("web", "1", "false") },
	{ "dual over IPv4",	GOOD, "/", "dual", KP_IPV4, 200, SERVICE("dual", "2", "true") },
	{ "dual over IPv6",	GOOD, "/", "dual", KP_IPV6, 200, SERVICE("dual", "1", "true") },
	{ "single over IPv6",	GOOD, "/", "web", KP_IPV6, 200, SERVICE("web", "1", "true") },
	{ "rules not there",	GOOD, "/", "broken", KP_IPV4, 503, SERVICE("broken", "2", "false") },
	{ "but over IPv6",	GOOD, "/", "broken", KP_IPV6, 200, SERVICE("broken", "1", "true") },
	{ "no endpoint here",	GOOD, "/", "none", KP_IPV4, 503, SERVICE("none", "0", "true") },
	{ "service gone",	GOOD, "/", "gone", KP_IPV4, 503, SERVICE("gone", "0", "true") },
	{ "no state",		UNKNOWN, "/", "web", KP_IPV4, 503, SERVICE("web", "0", "false") },
	{ "awkward name",	GOOD, "/", "q\"\\\n", KP_IPV4, 200, SERVICE("q\\\"\\\\\\u000a", "1", "true") },
	{ "service verbose",	GOOD, "/?verbose=1", "web", KP_IPV4, 200,
		"{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 1,\n"
		"\t\"serviceProxyHealthy\": true,\n\t\"reason\": \"ok\",\n\t\"family\": \"IPv4\",\n\t\"generation\": 0,\n"
		"\t\"pendingSeconds\": 0.000,\n\t\"terminatingServing\": 0,\n\t\"state\": \"Ready\"\n}" },
};

/* What a whole request gets. Returns where the body starts. */
static const char *ask_raw(const char *text, enum which state, struct hz_port *port, enum kp_family family,
			   struct hz_answer *ret)
{
	struct hz_asked q = { .state = state == UNKNOWN ? NULL : &states[state], .port = port, .family = family,
			      .now_ns = NOW, .wall_ns = WALL };
	struct hz_req req;
	const char *end;

	ck_assert_int_ne(hz_req_parse(text, strlen(text), &req), HZ_REQ_MORE);
	hz_answer(&q, &req, ret);
	ck_assert_uint_lt(ret->len, HZ_ANSWER_MAX);
	ret->bytes[ret->len] = '\0';
	end = strstr(ret->bytes, "\r\n\r\n");
	ck_assert_ptr_nonnull(end);
	return end + 4;
}

static struct hz_port port_of(const char *service)
{
	struct hz_port p = { .refs = 1, .is_service = true, .ns = (char *)"default", .name = (char *)service, .number = 1 };
	const struct hz_service *svc = hz_services_find(&table, "default", service);

	if (svc)
		p.number = svc->port;
	return p;
}

START_TEST(body)
{
	const char *service = bodies[_i].service, *got;
	struct hz_port port = service ? port_of(service) : node;
	struct hz_answer a;
	json_t *json;
	char text[256];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", bodies[_i].target);
	got = ask_raw(text, bodies[_i].state, &port, bodies[_i].family, &a);
	ck_assert_msg(strcmp(got, bodies[_i].body) == 0, "%s:\n%s\nwant\n%s", bodies[_i].name, got, bodies[_i].body);
	ck_assert_msg(a.status == bodies[_i].status, "%s: %d", bodies[_i].name, a.status);
	json = json_loads(got, 0, NULL);
	ck_assert_msg(json != NULL, "%s: not JSON", bodies[_i].name);
	json_decref(json);
	if (service) {
		snprintf(text, sizeof(text), "\r\nX-Load-Balancing-Endpoint-Weight: %d\r\n",
			 atoi(strstr(got, "localEndpoints\": ") + 17));
		ck_assert_msg(strstr(a.bytes, text) != NULL, "%s: weight", bodies[_i].name);
	}
}
END_TEST

START_TEST(exact_length)	/* B.4: 114 bytes for default/web/1/true */
{
	struct hz_port port = port_of("web");
	struct hz_answer a;

	ck_assert_uint_eq(strlen(ask_raw("GET / HTTP/1.0\r\n\r\n", GOOD, &port, KP_IPV4, &a)), 114);
}
END_TEST

#define HEAD_START "Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
#define DATE "Date: Sun, 01 Mar 2026 10:00:05 GMT\r\n"
#define ERROR_START "Content-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n" DATE
#define CLOSE "Connection: close\r\n\r\n"

/* B.6: heads, to the byte; on the port of default/web if on_service. */
static const struct {
	const char *name, *request;
	bool on_service, close;
	const char *head;
} heads[] = {
	{ "service",		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", true, false,
		"HTTP/1.1 200 OK\r\n" HEAD_START "X-Load-Balancing-Endpoint-Weight: 1\r\n" DATE "Content-Length: 114\r\n\r\n" },
	{ "asked to close",	"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", true, true,
		"HTTP/1.1 200 OK\r\n" HEAD_START "X-Load-Balancing-Endpoint-Weight: 1\r\n" DATE "Content-Length: 114\r\n" CLOSE },
	{ "1.0 with OPTIONS",	"OPTIONS / HTTP/1.0\r\n\r\n", true, true,
		"HTTP/1.0 200 OK\r\n" HEAD_START "X-Load-Balancing-Endpoint-Weight: 1\r\n" DATE "Content-Length: 114\r\n" CLOSE },
	{ "1.0 keep-alive",	"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, false,
		"HTTP/1.0 200 OK\r\n" HEAD_START "X-Load-Balancing-Endpoint-Weight: 1\r\n" DATE
		"Content-Length: 114\r\nConnection: keep-alive\r\n\r\n" },
	{ "with a body",	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", true, true,
		"HTTP/1.1 200 OK\r\n" HEAD_START "X-Load-Balancing-Endpoint-Weight: 1\r\n" DATE "Content-Length: 114\r\n" CLOSE },
	{ "expecting 100",	"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", true, true,
		"HTTP/1.1 200 OK\r\n" HEAD_START "X-Load-Balancing-Endpoint-Weight: 1\r\n" DATE "Content-Length: 114\r\n" CLOSE },
	{ "not found stays",	"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", false, false,
		"HTTP/1.1 404 Not Found\r\n" ERROR_START "Content-Length: 19\r\n\r\n" },
	{ "no Host",		"GET / HTTP/1.1\r\n\r\n", false, true,
		"HTTP/1.1 400 Bad Request\r\n" ERROR_START "Content-Length: 16\r\n" CLOSE },
	{ "CONNECT",		"CONNECT x:1 HTTP/1.0\r\n\r\n", false, true,
		"HTTP/1.0 405 Method Not Allowed\r\n" ERROR_START "Content-Length: 23\r\n" CLOSE },
	{ "HTTP/2",		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false, true,
		"HTTP/1.1 505 HTTP Version Not Supported\r\n" ERROR_START "Content-Length: 31\r\n" CLOSE },
};

START_TEST(head)
{
	struct hz_port web = port_of("web");
	struct hz_answer a;
	size_t n = strlen(heads[_i].head);

	ask_raw(heads[_i].request, GOOD, heads[_i].on_service ? &web : &node, KP_IPV4, &a);
	ck_assert_msg(a.len > n && memcmp(a.bytes, heads[_i].head, n) == 0, "%s:\n%s", heads[_i].name, a.bytes);
	ck_assert_msg(a.close == heads[_i].close, "%s: close", heads[_i].name);
}
END_TEST

static const struct {
	const char *target;
	enum hz_path path;
	int status;
	bool verbose;
} targets[] = {
	{ "/healthz", HZ_PATH_HEALTHZ, 503, false },	{ "/livez", HZ_PATH_LIVEZ, 200, false },
	{ "/", HZ_PATH_OTHER, 404, false },		{ "/healthz/", HZ_PATH_OTHER, 404, false },
	{ "//healthz", HZ_PATH_OTHER, 404, false },	{ "/HEALTHZ", HZ_PATH_OTHER, 404, false },
	{ "/%68ealthz", HZ_PATH_OTHER, 404, false },	{ "/healthzz", HZ_PATH_OTHER, 404, false },
	{ "/healthz?x=1", HZ_PATH_HEALTHZ, 503, false },{ "http://h/healthz", HZ_PATH_HEALTHZ, 503, false },
	{ "http://h", HZ_PATH_OTHER, 404, false },	{ "/healthz?", HZ_PATH_HEALTHZ, 503, false },
	{ "/healthz?verbose", HZ_PATH_HEALTHZ, 503, true },	{ "/healthz?a=b&verbose=no&c", HZ_PATH_HEALTHZ, 503, true },
	{ "/healthz?verbosely", HZ_PATH_HEALTHZ, 503, false },	{ "/healthz?xverbose", HZ_PATH_HEALTHZ, 503, false },
};

START_TEST(target)
{
	struct hz_answer a;
	char text[128];
	const char *got;

	snprintf(text, sizeof(text), "PUT %s HTTP/1.1\r\nHost: x\r\n\r\n", targets[_i].target);
	got = ask_raw(text, TAINTED, &node, KP_IPV4, &a);
	ck_assert_msg(a.status == targets[_i].status, "%s: %d", targets[_i].target, a.status);
	ck_assert_msg(a.path == targets[_i].path, "%s: path %d", targets[_i].target, a.path);
	ck_assert_msg(!strstr(got, "\"reason\"") == !targets[_i].verbose, "%s: %s", targets[_i].target, got);
}
END_TEST

START_TEST(star)	/* asks for the default path, but only with OPTIONS */
{
	struct hz_answer a;

	ask_raw("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", TAINTED, &node, KP_IPV4, &a);
	ck_assert_int_eq(a.status, 503);
	ask_raw("GET * HTTP/1.1\r\nHost: x\r\n\r\n", TAINTED, &node, KP_IPV4, &a);
	ck_assert_int_eq(a.status, 404);
}
END_TEST

START_TEST(head_method)	/* the head of GET, and nothing else */
{
	struct hz_answer get, head_only;

	ask_raw("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", GOOD, &node, KP_IPV4, &get);
	ck_assert_str_eq(ask_raw("HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n", GOOD, &node, KP_IPV4, &head_only), "");
	ck_assert_mem_eq(get.bytes, head_only.bytes, head_only.len);
}
END_TEST

START_TEST(moved_port)	/* T2: the Service is there, but not on the port that this connection came through */
{
	struct hz_port port = port_of("web");
	struct hz_answer a;

	port.number = 31999;
	ck_assert_str_eq(ask_raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n", GOOD, &port, KP_IPV4, &a), SERVICE("web", "0", "true"));
	ck_assert_int_eq(a.status, 503);
	ck_assert(a.close);
	ck_assert_ptr_nonnull(strstr(a.bytes, "\r\nConnection: close\r\n"));
}
END_TEST

static const struct {
	const char *name, *target, *service, *reason;
	enum which state;
} reason_rows[] = {
	{ "starting",		"/healthz?verbose", NULL, "starting", STARTING },
	{ "livez starting",	"/livez?verbose", NULL, "ok", STARTING },
	{ "stale",		"/livez?verbose", NULL, "stale", STALE_V6 },
	{ "tainted",		"/healthz?verbose", NULL, "nodeNotEligible", TAINTED },
	{ "compat",		"/healthz?verbose", NULL, "ok", LENIENT },
	{ "broken",		"/?verbose", "broken", "refused", GOOD },
	{ "broken and stale",	"/?verbose", "broken", "stale", STALE_V6 },
	{ "none",		"/?verbose", "none", "noLocalEndpoints", GOOD },
	{ "gone",		"/?verbose", "gone", "serviceGone", GOOD },
	{ "service stale",	"/?verbose", "web", "stale", STALE_V6 },
	{ "service starting",	"/?verbose", "web", "starting", STARTING },
};

START_TEST(reason)
{
	struct hz_port port = reason_rows[_i].service ? port_of(reason_rows[_i].service) : node;
	struct hz_answer a;
	char text[128];
	json_t *json;

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", reason_rows[_i].target);
	json = json_loads(ask_raw(text, reason_rows[_i].state, &port, KP_IPV4, &a), 0, NULL);
	ck_assert_msg(strcmp(json_string_value(json_object_get(json, "reason")), reason_rows[_i].reason) == 0, "%s: %s",
		      reason_rows[_i].name, json_string_value(json_object_get(json, "reason")));
	json_decref(json);
}
END_TEST

START_TEST(longest_names)	/* no API name is that long; a file's may be, and must not break anything */
{
	char ns[261], name[261];
	struct hz_port port = { .refs = 1, .is_service = true, .ns = ns, .name = name, .number = 1 };
	struct hz_answer a;
	json_t *json;

	memset(ns, '\001', sizeof(ns));
	memset(name, '\001', sizeof(name));
	ns[260] = name[260] = '\0';
	json = json_loads(ask_raw("GET /?verbose HTTP/1.1\r\nHost: x\r\n\r\n", GOOD, &port, KP_IPV4, &a), 0, NULL);
	ck_assert_ptr_nonnull(json);
	json_decref(json);
}
END_TEST

/* Pages of other ports: the head in front of a body of any size. */
static const struct {
	const char *name, *request;
	int status;		/* asked for */
	const char *start, *body;	/* of the answer */
	bool close;
} pages[] = {
	{ "page", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 200, "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\n", "text", false },
	{ "old", "GET /x HTTP/1.0\r\n\r\n", 404, "HTTP/1.0 404 Not Found\r\nContent-Type: text/x\r\n", "text", true },
	{ "head", "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", 200, "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\n", "", false },
	{ "bad", "GET\r\n\r\n", 200, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n", "400 Bad Request\n", true },
};

START_TEST(page)
{
	struct kp_buf text = { 0 };
	struct hz_answer a;
	struct hz_req req;

	hz_req_parse(pages[_i].request, strlen(pages[_i].request), &req);
	kp_buf_puts(&text, "text");
	hz_answer_page(&req, pages[_i].status, "text/x", &text, WALL, &a);
	ck_assert_ptr_null(text.data);
	ck_assert_msg(strncmp(a.bytes, pages[_i].start, strlen(pages[_i].start)) == 0, "%s: %.*s", pages[_i].name, (int)a.len, a.bytes);
	ck_assert_msg(a.more_len == strlen(pages[_i].body) && memcmp(a.more, pages[_i].body, a.more_len) == 0, "%s", pages[_i].name);
	ck_assert_msg(a.close == pages[_i].close, "%s", pages[_i].name);
	ck_assert_msg(strstr(a.bytes, pages[_i].status == 200 && req.status ? "Content-Length: 16\r\n" : "Content-Length: 4\r\n") != NULL,
		      "%s: %.*s", pages[_i].name, (int)a.len, a.bytes);
	free(a.more);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("answer");
	TCase *tc = tcase_create("tables");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, body, 0, KP_N(bodies));
	tcase_add_test(tc, exact_length);
	tcase_add_loop_test(tc, head, 0, KP_N(heads));
	tcase_add_loop_test(tc, target, 0, KP_N(targets));
	tcase_add_loop_test(tc, reason, 0, KP_N(reason_rows));
	tcase_add_test(tc, star);
	tcase_add_test(tc, head_method);
	tcase_add_test(tc, moved_port);
	tcase_add_test(tc, longest_names);
	tcase_add_loop_test(tc, page, 0, KP_N(pages));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
