#include <limits.h>

#include "tests/support/file_lab.h"

/*
 * Bad input of every kind, in a file beside a good one. It is logged with file, line
 * and reason, costs nothing but itself, leaves what was known in force, and is
 * forgotten as soon as it is put right.
 */
static struct lab lab;

static void setup(void) { lab_init(&lab); }
static void teardown(void) { lab_release(&lab); }

#define HEAD "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\n"
#define SPEC(more) HEAD "spec:\n  clusterIP: 10.0.0.6\n  ports: [{port: 80}]\n" more
#define PORTS(ports) HEAD "spec:\n  clusterIP: 10.0.0.6\n  ports:\n" ports
#define SLICE_HEAD "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: bad\n" \
	"  labels: {kubernetes.io/service-name: bad}\naddressType: IPv4\n"

/* text: the content of bad.yaml; says: what is logged after "bad.yaml". */
static const struct {
	const char *name, *text, *says;
} small[] = {
	{ "empty", "", ": the file is empty" },
	{ "prose", "dear diary\n", ":1: object: must be an object with kind and metadata" },
	{ "a list", "- 1\n- 2\n", ":1: object: must be an object with kind and metadata" },
	{ "no kind", "a: b\n", ":1: object: kind: required" },
	{ "open bracket", "a: [", ": line 2: " },
	{ "bad indent", "kind: Service\n  apiVersion: v1\n spec: x\n", ": line 2: " },
	{ "tab", "kind: Service\n\tapiVersion: v1\n", ": line 2: " },
	{ "unknown alias", "kind: *nobody\n", ": line 1: " },
	{ "second document broken", HEAD "spec: {clusterIP: None}\n---\n{{{\n", ": line 6: " },
	{ "json cut short", "{\"kind\": \"Service\",\n \"metadata\": {", ": line 2: " },
	{ "json in a list cut short", "{\"kind\": \"List\", \"items\": [\n{\"kind\": \"Serv", ": line 2: " },
	{ "json with a trailing comma", "{\"kind\": \"List\", \"items\": [\n{},\n]}", ": line 3: " },
	{ "duplicate key", "apiVersion: v1\nkind: Service\nkind: Node\n", ": line 3: " },
	{ "duplicate key in json", "{\"kind\": \"Service\",\n\"kind\": \"Node\"}", ": line " },
	{ "invalid UTF-8", "apiVersion: v1\nkind: \"Ser\xffvice\"\n", ": line 2: " },
	{ "NUL", "apiVersion: v1\nkind: \"Serv\\0ice\"\n", ": line 2: " },
	{ "items is no list", "apiVersion: v1\nkind: List\nitems: {a: b}\n", ":3: object: items: an object: must be a list" },
	{ "old slice", "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: bad-1}\n",
	  ":1: EndpointSlice: apiVersion: \"v1beta1\": version not known for EndpointSlice; use discovery.k8s.io/v1" },
	{ "no name", "apiVersion: v1\nkind: Service\nmetadata: {}\n", ":1: Service: metadata.name: required" },
	{ "name in capitals", "apiVersion: v1\nkind: Service\nmetadata:\n  name: Bad\n",
	  ":4: Service default/Bad: metadata.name: \"Bad\": must consist of lower case letters" },
	{ "name too long", "apiVersion: v1\nkind: Service\nmetadata:\n  name: "
	  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "must be no more than 63 characters" },
	{ "namespace with a path", "apiVersion: v1\nkind: Service\nmetadata:\n  name: bad\n  namespace: ../etc\n",
	  ":5: Service ../etc/bad: metadata.namespace: \"../etc\": must consist of" },
	{ "port too large", PORTS("  - port: 70000\n"),
	  ":7: Service default/bad: spec.ports[0].port: 70000: must be between 1 and 65535" },
	{ "port beyond any number", PORTS("  - port: 99999999999999999999\n"), ":7: Service default/bad: spec.ports[0].port: " },
	{ "port as text", PORTS("  - port: \"80\"\n"),
	  ":7: Service default/bad: spec.ports[0].port: \"80\": must be a whole number" },
	{ "second port wrong", PORTS("  - {name: a, port: 80}\n  - {name: b, port: 0}\n"),
	  ":8: Service default/bad: spec.ports[1].port: 0: must be between 1 and 65535" },
	{ "nodePort too large", PORTS("  - port: 80\n    nodePort: 65536\n"),
	  ":8: Service default/bad: spec.ports[0].nodePort: 65536: must be between 0 and 65535" },
	{ "unknown protocol", PORTS("  - port: 80\n    protocol: ICMP\n"),
	  ":8: Service default/bad: spec.ports[0].protocol: \"ICMP\": must be TCP, UDP or SCTP" },
	{ "duplicate port", PORTS("  - {name: a, port: 80}\n  - {name: b, port: 80}\n"),
	  ":8: Service default/bad: spec.ports[1].port: 80: duplicate for this protocol" },
	{ "ports is no list", HEAD "spec:\n  clusterIP: 10.0.0.6\n  ports: {port: 80}\n",
	  ":6: Service default/bad: spec.ports: an object: must be a list" },
	{ "clusterIP wrong", HEAD "spec:\n  clusterIP: 10.0.0.256\n  ports: [{port: 80}]\n",
	  ":5: Service default/bad: spec.clusterIP: \"10.0.0.256\": must be an IP address" },
	{ "clusterIPs of one family", SPEC("  clusterIPs: [10.0.0.6, 10.0.0.7]\n"),
	  ":7: Service default/bad: spec.clusterIPs[1]: \"10.0.0.7\": second address of family IPv4" },
	{ "family mismatch", SPEC("  ipFamilies: [IPv6]\n"),
	  ":5: Service default/bad: spec.clusterIP: \"10.0.0.6\": must be IPv6, as ipFamilies says" },
	{ "external loopback", SPEC("  externalIPs:\n  - 192.0.2.1\n  - 127.0.0.1\n"),
	  ":9: Service default/bad: spec.externalIPs[1]: \"127.0.0.1\": must not be a loopback address" },
	{ "source range without length", SPEC("  loadBalancerSourceRanges: [10.0.0.0]\n"),
	  ":7: Service default/bad: spec.loadBalancerSourceRanges[0]: \"10.0.0.0\": must be an address range" },
	{ "affinity timeout", SPEC("  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}\n"),
	  ":8: Service default/bad: spec.sessionAffinityConfig.clientIP.timeoutSeconds: 86401: must be between 1 and 86400" },
	{ "policy", SPEC("  externalTrafficPolicy: Lokal\n"),
	  ":7: Service default/bad: spec.externalTrafficPolicy: \"Lokal\": must be Cluster or Local" },
	{ "type", SPEC("  type: loadbalancer\n"), ":7: Service default/bad: spec.type: \"loadbalancer\": must be ClusterIP" },
	{ "vip", SPEC("status: {loadBalancer: {ingress: [{ip: example.org}]}}\n"),
	  ":7: Service default/bad: status.loadBalancer.ingress[0].ip: \"example.org\": must be an IP address" },
	{ "endpoint of the other family", SLICE_HEAD "endpoints:\n- addresses: [10.1.0.1]\n- addresses: [\"2001:db8::1\"]\n",
	  ":9: EndpointSlice default/bad: endpoints[1].addresses[0]: \"2001:db8::1\": must be IPv4, as addressType says" },
	{ "endpoint on loopback", SLICE_HEAD "endpoints:\n- addresses: [127.0.0.1]\n",
	  ":8: EndpointSlice default/bad: endpoints[0].addresses[0]: \"127.0.0.1\": must not be a loopback address" },
	{ "endpoint condition", SLICE_HEAD "endpoints:\n- addresses: [10.1.0.1]\n  conditions: {ready: maybe}\n",
	  ":9: EndpointSlice default/bad: endpoints[0].conditions.ready: \"maybe\": must be true or false" },
};

#define MEGA (1u << 20)

static void repeat(struct kp_buf *b, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		kp_buf_puts(b, text);
}

static void long_value(struct kp_buf *b)
{
	kp_buf_puts(b, "apiVersion: v1\nkind: Service\nmetadata:\n  name: ");
	repeat(b, "a", 70000);
	kp_buf_puts(b, "\n");
}

static void long_field(struct kp_buf *b)
{
	kp_buf_puts(b, SPEC("  type: "));
	repeat(b, "\xc3\xa4", 35000);
	kp_buf_puts(b, "\n");
}

static void deep_json(struct kp_buf *b)
{
	kp_buf_puts(b, "{\"kind\":\"Service\",\"x\":");
	repeat(b, "[", 100000);
}

static void deep_yaml(struct kp_buf *b)
{
	kp_buf_puts(b, "kind: Service\nx: ");
	repeat(b, "[", 100000);
}

static void million_endpoints(struct kp_buf *b)
{
	kp_buf_puts(b, "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"bad\","
		    "\"labels\":{\"kubernetes.io/service-name\":\"bad\"}},\"addressType\":\"IPv4\",\"endpoints\":[{}");
	repeat(b, ",{}", 1000000);
	kp_buf_puts(b, "]}\n");
}

static void million_items(struct kp_buf *b)
{
	kp_buf_puts(b, "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[1");
	repeat(b, ",1", 1000000);
	kp_buf_puts(b, "]}\n");
}

static void huge_item(struct kp_buf *b)
{
	kp_buf_puts(b, "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"bad\",\"annotations\":{\"a\":\"");
	repeat(b, "0123456789abcdef", MEGA + 1);
	kp_buf_puts(b, "\"}}}\n");
}

static void billion_laughs(struct kp_buf *b)
{
	kp_buf_puts(b, "a0: &a0 lol\n");
	for (int i = 1; i < 12; i++)
		kp_buf_printf(b, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i,
			      i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
	kp_buf_puts(b, "kind: Service\n");
}

static void binary(struct kp_buf *b)
{
	for (unsigned i = 0, x = 1; i < 100000; i++, x = x * 1103515245 + 12345) {
		char byte = (char)(x >> 16);

		kp_buf_add(b, &byte, 1);
	}
}

static void zeros(struct kp_buf *b)
{
	char *p = kp_buf_reserve(b, MEGA);

	memset(p, 0, MEGA);
	b->len += MEGA;
}

static const struct {
	const char *name;
	void (*make)(struct kp_buf *b);
	const char *says;
} large[] = {
	{ "name of 70,000 characters", long_value, ":4: Service default/aaa" },
	{ "type of 70,000 bytes", long_field, "\"...: must be ClusterIP" },
	{ "100,000 levels of JSON", deep_json, ": line 1: " },
	{ "100,000 levels of YAML", deep_yaml, ": line 2: " },
	{ "a million endpoints", million_endpoints, ": endpoints: 1000001: must be no more than 1000" },
	{ "a million items", million_items, " more objects refused" },
	{ "an item of 16 MiB", huge_item, ": line 1: " },
	{ "aliases of aliases", billion_laughs, ": line " },
	{ "random bytes", binary, ": line 1: " },
	{ "a megabyte of zeros", zeros, ": line 1: " },
};

static void check_log(const char *name, const char *says)
{
	char *all = lab_log(&lab), *at = strstr(all, "bad.yaml");

	ck_assert_msg(at && strstr(at, says), "%s: wanted \"%s\" in: %.2000s", name, says, all);
	/* Nothing of any length comes through. */
	for (char *line = strtok(all, "\n"); line; line = strtok(NULL, "\n"))
		ck_assert_msg(strlen(line) < 1200, "%s: a line of %zu bytes: %.300s", name, strlen(line), line);
	free(all);
}

/*
 * Twice: as something new, and in place of what was good. Then put right.
 */
static void check_bad(const char *name, const char *text, size_t len, const char *says)
{
	/* The same kind of object, so that the bad one stands in for the good one. */
	const char *(*right)(const char *name, const char *ip) = memmem(text, len, "addressType", 11) ? slice : svc;

	lab_write(&lab, "good.yaml", svc("good", "10.0.0.1"));
	lab_write_bytes(&lab, "bad.yaml", text, len);
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "good=10.0.0.1 ");
	check_log(name, says);
	lab_write(&lab, "bad.yaml", right("bad", "10.0.0.2"));
	lab_await(&lab, "bad=10.0.0.2 good=10.0.0.1 ");
	lab_forget_journal(&lab);
	lab_write_bytes(&lab, "bad.yaml", text, len);
	lab_pass(&lab);
	ck_assert_msg(lab_state_is(&lab, "bad=10.0.0.2 good=10.0.0.1 zz-pass=10.99.0.1 ") &&
		      !strstr(lab.journal.data, "bad") && !strstr(lab.journal.data, "good"),
		      "%s: %s", name, lab.journal.data);
	lab_write(&lab, "bad.yaml", right("bad", "10.0.0.3"));
	lab_await(&lab, "bad=10.0.0.3 good=10.0.0.1 zz-pass=10.99.0.1 ");
	unlink(lab_path(&lab, "bad.yaml"));
	lab_await(&lab, "good=10.0.0.1 zz-pass=10.99.0.1 ");
}

START_TEST(small_case)
{
	check_bad(small[_i].name, small[_i].text, strlen(small[_i].text), small[_i].says);
}
END_TEST

START_TEST(large_case)
{
	struct kp_buf b = { 0 };

	large[_i].make(&b);
	check_bad(large[_i].name, b.data, b.len, large[_i].says);
	kp_buf_release(&b);
}
END_TEST

/* One bad object in a file of three: the others are applied, the bad one keeps its last good form. */
START_TEST(only_the_object)
{
	char text[4096];

	snprintf(text, sizeof(text), "%s%s%s", svc("a", "10.0.0.1"), svc("b", "10.0.0.1"), svc("c", "10.0.0.1"));
	lab_write(&lab, "bad.yaml", text);
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "a=10.0.0.1 b=10.0.0.1 c=10.0.0.1 ");
	snprintf(text, sizeof(text), "%s%s%s", svc("a", "10.0.0.2"), svc("b", "10.0.0"), svc("c", "10.0.0.2"));
	lab_write(&lab, "bad.yaml", text);
	lab_await(&lab, "a=10.0.0.2 b=10.0.0.1 c=10.0.0.2 ");
	lab_assert_logged(&lab, "bad.yaml:16: Service default/b: spec.clusterIP: \"10.0.0\": must be an IP address", 1);
	/* Said once, as long as the object stays as it is. */
	snprintf(text, sizeof(text), "%s%s", svc("a", "10.0.0.3"), svc("b", "10.0.0"));
	lab_write(&lab, "bad.yaml", text);
	lab_await(&lab, "a=10.0.0.3 b=10.0.0.1 ");
	lab_assert_logged(&lab, "Service default/b:", 1);
	/* Out of the file it is gone, although it was bad; back as it was, it is good. */
	lab_write(&lab, "bad.yaml", svc("a", "10.0.0.3"));
	lab_await(&lab, "a=10.0.0.3 ");
	lab_write(&lab, "bad.yaml", both(svc("a", "10.0.0.3"), svc("b", "10.0.0.1")));
	lab_await(&lab, "a=10.0.0.3 b=10.0.0.1 ");
}
END_TEST

/* An object whose name is broken may be any of those that are missed: none of them is removed. */
START_TEST(broken_name)
{
	lab_write(&lab, "bad.yaml", both(svc("a", "10.0.0.1"), svc("b", "10.0.0.1")));
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "a=10.0.0.1 b=10.0.0.1 ");
	lab_write(&lab, "bad.yaml", both(svc("a", "10.0.0.2"), svc("B!", "10.0.0.1")));
	lab_await(&lab, "a=10.0.0.2 b=10.0.0.1 ");
	lab_pass(&lab);
	ck_assert(lab_state_is(&lab, "a=10.0.0.2 b=10.0.0.1 zz-pass=10.99.0.1 "));
	lab_write(&lab, "bad.yaml", both(svc("a", "10.0.0.2"), svc("c", "10.0.0.1")));
	lab_await(&lab, "a=10.0.0.2 c=10.0.0.1 zz-pass=10.99.0.1 ");
}
END_TEST

/* What looks odd and is fine. */
static const struct {
	const char *name, *text, *state;
} fine[] = {
	{ "leading zeros", HEAD "spec:\n  clusterIP: 010.000.000.008\n  ports: [{port: 80}]\n", "bad=10.0.0.8 good=10.0.0.1 " },
	{ "windows line ends", "apiVersion: v1\r\nkind: Service\r\nmetadata: {name: bad}\r\nspec:\r\n  clusterIP: 10.0.0.2\r\n"
	  "  ports: [{port: 80}]\r\n", "bad=10.0.0.2 good=10.0.0.1 " },
	{ "byte order mark", "\xef\xbb\xbf" HEAD "spec:\n  clusterIP: 10.0.0.2\n  ports: [{port: 80}]\n",
	  "bad=10.0.0.2 good=10.0.0.1 " },
	{ "only a comment", "# nothing yet\n", "good=10.0.0.1 " },
	{ "empty documents", "---\n---\n...\n---\n", "good=10.0.0.1 " },
	{ "empty list", "apiVersion: v1\nkind: List\nitems: []\n", "good=10.0.0.1 " },
	{ "other kinds", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n", "good=10.0.0.1 " },
	{ "headless", HEAD "spec: {clusterIP: None}\n", "bad=- good=10.0.0.1 " },
	{ "blanks in a range", SPEC("  loadBalancerSourceRanges: [\" 10.0.0.0/8 \"]\n"), "bad=10.0.0.6 good=10.0.0.1 " },
	{ "slice of no Service", "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\naddressType: IPv4\n",
	  "good=10.0.0.1 " },
};

START_TEST(fine_case)
{
	lab_write(&lab, "good.yaml", svc("good", "10.0.0.1"));
	lab_write(&lab, "bad.yaml", fine[_i].text);
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, fine[_i].state);
	ck_assert_msg(lab_logged(&lab, "error") == 0, "%s: %s", fine[_i].name, lab_log(&lab));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("badinput");
	TCase *tc = tcase_create("small"), *big = tcase_create("large");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(tc, 2 * LAB_DEADLINE_S);
	tcase_set_timeout(big, 10 * LAB_DEADLINE_S);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_checked_fixture(big, setup, teardown);
	tcase_add_loop_test(tc, small_case, 0, KP_N(small));
	tcase_add_loop_test(tc, fine_case, 0, KP_N(fine));
	tcase_add_test(tc, only_the_object);
	tcase_add_test(tc, broken_name);
	suite_add_tcase(s, tc);
	tcase_add_loop_test(big, large_case, 0, KP_N(large));
	suite_add_tcase(s, big);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
