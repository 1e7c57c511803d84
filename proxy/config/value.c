#include "proxy/config/config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

#define NS_PER_MS	1000000u
#define MAX_NS		((uint64_t)INT64_MAX)	/* what Go can hold */

bool kp_bool_parse(const char *s, bool *ret)
{
	static const char *const words[6][2] = {
		{ "0", "1" }, { "f", "t" }, { "F", "T" }, { "false", "true" }, { "FALSE", "TRUE" }, { "False", "True" },
	};

	for (size_t i = 0; i < KP_N(words); i++)
		for (int yes = 0; yes < 2; yes++)
			if (strcmp(words[i][yes], s) == 0) {
				*ret = yes;
				return true;
			}
	return false;
}

/* Longest names first, so that "ms" is not read as "m". */
static const struct {
	const char *name;
	uint64_t ns;
} units[] = {
	{ "ns", 1 }, { "us", 1000 }, { "\xc2\xb5s", 1000 }, { "\xce\xbcs", 1000 }, { "ms", NS_PER_MS },
	{ "s", 1000000000 }, { "m", 60000000000 }, { "h", 3600000000000 },
};

/* 0: none. */
static uint64_t unit_ns(const char **ps)
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

/* whole + part / scale, as Go reads it: in integers, so that 1.002s is not a little more than that. */
struct amount {
	uint64_t whole, part;
	double scale;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits with an optional fraction, whose digits do not count once they are too many. False: none, or too large. */
static bool parse_amount(const char **ps, struct amount *ret)
{
	struct amount a = { .scale = 1 };
	const char *p = *ps;
	bool any = false;

	for (; is_digit(*p); p++, any = true) {
		if (a.whole > MAX_NS / 10)
			return false;
		a.whole = a.whole * 10 + (uint64_t)(*p - '0');
	}
	if (*p == '.')
		for (p++; is_digit(*p); p++, any = true) {
			if (a.part > MAX_NS / 10 - 1)
				continue;
			a.part = a.part * 10 + (uint64_t)(*p - '0');
			a.scale *= 10;
		}
	*ps = p;
	*ret = a;
	return any;
}

/* Nanoseconds of a duration without its sign. */
static bool parse_sum(const char *s, uint64_t *ret)
{
	struct amount a;
	uint64_t unit;

	*ret = 0;
	if (!*s)
		return false;
	while (*s) {
		if (!parse_amount(&s, &a))
			return false;
		unit = unit_ns(&s);
		if (unit == 0 || a.whole > MAX_NS / unit)
			return false;
		*ret += a.whole * unit + (uint64_t)((double)a.part * ((double)unit / a.scale));
		if (*ret > MAX_NS)
			return false;
	}
	return true;
}

bool kp_duration_parse(const char *s, int64_t *ret_ms)
{
	bool negative = *s == '-';
	uint64_t ns;
	int64_t ms;

	s += *s == '-' || *s == '+';
	if (strcmp(s, "0") == 0) {
		*ret_ms = 0;
		return true;
	}
	if (!parse_sum(s, &ns))
		return false;
	/* Rounded up the longest one would be too long to be read again. */
	ms = (int64_t)(ns < MAX_NS - NS_PER_MS ? (ns + NS_PER_MS - 1) / NS_PER_MS : ns / NS_PER_MS);
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
