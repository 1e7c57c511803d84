#include "proxy/config/config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

#define NS_PER_MS 1000000.0L

/* Longest names first, so that "ms" is not read as "m". */
static const struct {
	const char *name;
	long double ns;
} units[] = {
	{ "ns", 1 }, { "us", 1e3L }, { "\xc2\xb5s", 1e3L }, { "\xce\xbcs", 1e3L }, { "ms", 1e6L },
	{ "s", 1e9L }, { "m", 60e9L }, { "h", 3600e9L },
};

static long double unit_ns(const char **ps)
{
	for (size_t i = 0; i < KP_N(units); i++) {
		size_t len = strlen(units[i].name);

		if (strncmp(*ps, units[i].name, len) == 0) {
			*ps += len;
			return units[i].ns;
		}
	}
	return 0;
}

/* Digits with an optional fraction; strtold would take far more. */
static bool parse_amount(const char **ps, long double *ret)
{
	size_t digits = strspn(*ps, "0123456789"), more = 0;
	const char *p = *ps + digits;

	if (*p == '.') {
		more = strspn(p + 1, "0123456789");
		p += 1 + more;
	}
	if (digits + more == 0)
		return false;
	*ret = strtold(*ps, NULL);
	*ps = p;
	return true;
}

bool kp_duration_parse(const char *s, int64_t *ret_ms)
{
	bool negative = *s == '-';
	long double total = 0, amount, unit;
	int64_t ms;

	s += *s == '-' || *s == '+';
	if (strcmp(s, "0") == 0) {
		*ret_ms = 0;
		return true;
	}
	if (!*s)
		return false;
	while (*s) {
		if (!parse_amount(&s, &amount))
			return false;
		unit = unit_ns(&s);
		if (unit == 0)
			return false;
		total += amount * unit;
	}
	if (total > 9223372036854775807.0L)	/* what Go can hold */
		return false;
	ms = (int64_t)(total / NS_PER_MS);
	/* Rounded up the longest one would be too long to be read again. */
	ms += ms < INT64_MAX / 1000000 && (long double)ms * NS_PER_MS < total;
	*ret_ms = negative ? -ms : ms;
	return true;
}

char *kp_duration_str(int64_t ms, char *out)
{
	uint64_t left = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
	unsigned long h = left / 3600000, m = left / 60000 % 60, s = left / 1000 % 60, rest = left % 1000;
	const char *sign = ms < 0 ? "-" : "";
	char fraction[8] = "";

	for (size_t n = rest ? (size_t)snprintf(fraction, sizeof(fraction), ".%03lu", rest) : 0;
	     n && fraction[n - 1] == '0'; n--)
		fraction[n - 1] = '\0';
	if (h)
		snprintf(out, KP_DURATION_STRLEN, "%s%luh%lum%lu%ss", sign, h, m, s, fraction);
	else if (m)
		snprintf(out, KP_DURATION_STRLEN, "%s%lum%lu%ss", sign, m, s, fraction);
	else if (s || !rest)
		snprintf(out, KP_DURATION_STRLEN, "%s%lu%ss", sign, s, fraction);
	else
		snprintf(out, KP_DURATION_STRLEN, "%s%lums", sign, rest);
	return out;
}

bool kp_hostport_split(const char *s, char *host, size_t host_size, const char **ret_port)
{
	const char *colon = strrchr(s, ':'), *end = colon;

	if (!colon)
		return false;
	if (*s == '[') {
		s++;
		end = strchr(s, ']');
		if (!end || end + 1 != colon)
			return false;
	} else if (memchr(s, ':', (size_t)(colon - s))) {
		return false;	/* an IPv6 address needs the brackets */
	}
	if ((size_t)(end - s) >= host_size)
		return false;
	memcpy(host, s, (size_t)(end - s));
	host[end - s] = '\0';
	*ret_port = colon + 1;
	return true;
}

bool kp_port_parse(const char *s, uint16_t *ret)
{
	unsigned v = 0;

	if (!*s || strlen(s) > 5)
		return false;
	for (; *s; s++) {
		if (!isdigit((unsigned char)*s))
			return false;
		v = v * 10 + (unsigned)(*s - '0');
	}
	if (v < 1 || v > 65535)
		return false;
	*ret = (uint16_t)v;
	return true;
}

bool kp_hostport_parse(const char *s, struct kp_addr *ret, uint16_t *ret_port)
{
	char host[KP_ADDR_STRLEN];
	const char *port;
	struct kp_addr addr;

	if (!kp_hostport_split(s, host, sizeof(host), &port) || !kp_addr_parse(host, &addr) ||
	    !kp_port_parse(port, ret_port))
		return false;
	*ret = addr;
	return true;
}

char *kp_hostport_complete(const char *s, int64_t port)
{
	struct kp_addr a;

	if (port == 0)
		return kp_strdup("");
	if (!kp_addr_parse(s, &a))
		return kp_strdup(s);
	return kp_asprintf(strchr(s, ':') ? "[%s]:%lld" : "%s:%lld", s, (long long)port);
}
