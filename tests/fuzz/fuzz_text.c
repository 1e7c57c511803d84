#include "fuzz.h"
#include "proxy/base/addr.h"
#include "proxy/config/config.h"

static void check_addr(const char *s)
{
	char text[KP_CIDR_STRLEN];
	struct kp_addr a, b;
	struct kp_cidr c, d;

	if (kp_addr_parse(s, &a)) {
		FUZZ_CHECK(kp_addr_parse(kp_addr_str(&a, text), &b));
		FUZZ_CHECK(kp_addr_cmp(&a, &b) == 0 && memcmp(&a, &b, sizeof(a)) == 0);
	}
	if (kp_cidr_parse(s, &c)) {
		FUZZ_CHECK(kp_cidr_contains(&c, &c.addr));
		FUZZ_CHECK(kp_cidr_parse(kp_cidr_str(&c, text), &d));
		FUZZ_CHECK(c.len == d.len && kp_addr_cmp(&c.addr, &d.addr) == 0);
	}
}

static void check_duration(const char *s)
{
	char text[KP_DURATION_STRLEN];
	int64_t ms, again;

	if (!kp_duration_parse(s, &ms))
		return;
	FUZZ_CHECK(kp_duration_parse(kp_duration_str(ms, text), &again) && again == ms);
}

static void check_hostport(const char *s)
{
	char host[64], *complete;
	const char *port;
	struct kp_addr a;
	uint16_t n;

	if (kp_hostport_parse(s, &a, &n))
		FUZZ_CHECK(n > 0 && kp_hostport_split(s, host, sizeof(host), &port) && kp_port_parse(port, &n));
	complete = kp_hostport_complete(s, 80);
	if (kp_addr_parse(s, &a) && strlen(s) < KP_ADDR_STRLEN)	/* kube-proxy allows any number of zeros */
		FUZZ_CHECK(kp_hostport_parse(complete, &a, &n) && n == 80);
	free(complete);
}

/* Addresses, prefixes, durations and ports as text: printed and read again they are the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = kp_strndup((const char *)data, size);

	check_addr(s);
	check_duration(s);
	check_hostport(s);
	free(s);
	return 0;
}
