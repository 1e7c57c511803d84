#include "proxy/source/decode_impl.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proxy/base/mem.h"

static bool lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool letter_or_digit(char c)
{
	return lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

/* Begins and ends with a character of the class, between them also those in more. */
static bool well_formed(const char *s, size_t len, bool (*edge)(char), const char *more)
{
	if (!len || !edge(s[0]) || !edge(s[len - 1]))
		return false;
	for (size_t i = 1; i + 1 < len; i++)
		if (!edge(s[i]) && !strchr(more, s[i]))
			return false;
	return true;
}

static bool is_label(const char *s, size_t len)
{
	return well_formed(s, len, lower_or_digit, "-");
}

static bool is_subdomain(const char *s, size_t len)
{
	const char *end = s + len, *dot;

	for (; (dot = memchr(s, '.', (size_t)(end - s))); s = dot + 1)
		if (!is_label(s, (size_t)(dot - s)))
			return false;
	return is_label(s, (size_t)(end - s));
}

static bool is_label_value(const char *s, size_t len)
{
	return !len || well_formed(s, len, letter_or_digit, "-_.");
}

static const struct {
	size_t max;
	bool (*ok)(const char *s, size_t len);
	const char *want;
} forms[] = {
	[KP_DNS_LABEL] = { 63, is_label,
		"lower case letters, digits and '-', a letter or digit at both ends" },
	[KP_DNS_SUBDOMAIN] = { 253, is_subdomain,
		"lower case letters, digits, '-' and '.', a letter or digit at both ends of each part" },
	[KP_LABEL_VALUE] = { 63, is_label_value,
		"letters, digits, '-', '_' and '.', a letter or digit at both ends" },
};

void kp_dec_check_form(struct kp_dec *d, const struct kp_at *at, const char *s, enum kp_form form)
{
	size_t len = strlen(s);
	char shown[KP_QUOTE_LEN];

	if (!d->strict)
		return;
	if (len > forms[form].max)
		kp_dec_refuse(d, at, "%s: must be no more than %zu characters", kp_dec_quote(s, shown),
			      forms[form].max);
	else if (!forms[form].ok(s, len))
		kp_dec_refuse(d, at, "%s: must consist of %s", kp_dec_quote(s, shown), forms[form].want);
}

bool kp_dec_addr(struct kp_dec *d, const struct kp_at *at, const char *s, struct kp_addr *ret)
{
	char shown[KP_QUOTE_LEN];

	if (kp_addr_parse(s, ret))
		return true;
	kp_dec_refuse_or_note(d, at, "%s: must be an IP address", kp_dec_quote(s, shown));
	return false;
}

bool kp_dec_cidr(struct kp_dec *d, const struct kp_at *at, const char *s, struct kp_cidr *ret)
{
	static const char blanks[] = " \t\r\n\v\f";
	const char *begin = s + strspn(s, blanks);
	size_t len = strlen(begin);
	char text[64], shown[KP_QUOTE_LEN];	/* leading zeros may make it longer than KP_CIDR_STRLEN */

	while (len && strchr(blanks, begin[len - 1]))
		len--;
	if (len < sizeof(text)) {
		memcpy(text, begin, len);
		text[len] = '\0';
		if (kp_cidr_parse(text, ret))
			return true;
	}
	kp_dec_refuse_or_note(d, at, "%s: must be an address range such as 10.9.0.0/16 or 2001:db8::/64",
			      kp_dec_quote(s, shown));
	return false;
}

struct kp_cidr *kp_dec_cidrs(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key, size_t *ret_n)
{
	json_t *list = kp_dec_list(d, up, obj, key);
	size_t n = json_array_size(list), used = 0;
	struct kp_cidr *all = n ? kp_calloc(n, sizeof(*all)) : NULL;

	for (size_t i = 0; i < n && !d->failed; i++) {
		const struct kp_at *at = KP_AT_INDEX(KP_AT(up, key), i);
		const char *s = kp_dec_element_text(d, at, json_array_get(list, i));

		if (s && kp_dec_cidr(d, at, s, &all[used]))
			used++;
	}
	*ret_n = used;
	return all;
}

static const struct {
	struct kp_cidr range;
	const char *what;
} special[] = {
	{ { { KP_IPV4, { 127 } }, 8 },			"a loopback address" },
	{ { { KP_IPV6, { [15] = 1 } }, 128 },		"a loopback address" },
	{ { { KP_IPV4, { 169, 254 } }, 16 },		"a link-local address" },
	{ { { KP_IPV6, { 0xfe, 0x80 } }, 10 },		"a link-local address" },
	{ { { KP_IPV4, { 224 } }, 4 },			"a multicast address" },
	{ { { KP_IPV6, { 0xff } }, 8 },			"a multicast address" },
	{ { { KP_IPV4, { 0 } }, 32 },			"the unspecified address" },
	{ { { KP_IPV6, { 0 } }, 128 },			"the unspecified address" },
};

void kp_dec_check_ordinary(struct kp_dec *d, const struct kp_at *at, const char *s, const struct kp_addr *a)
{
	char shown[KP_QUOTE_LEN];

	for (size_t i = 0; d->strict && i < KP_N(special); i++)
		if (kp_cidr_contains(&special[i].range, a))
			kp_dec_refuse(d, at, "%s: must not be %s", kp_dec_quote(s, shown), special[i].what);
}

/* n digits within lo and hi, then one of the characters in next. */
static bool number(const char **s, int n, int lo, int hi, char next, int *ret)
{
	int v = 0;

	for (int i = 0; i < n; i++, (*s)++) {
		if (**s < '0' || **s > '9')
			return false;
		v = v * 10 + (**s - '0');
	}
	if (v < lo || v > hi || (next && *(*s)++ != next))
		return false;
	*ret = v;
	return true;
}

static uint64_t fraction(const char **s)
{
	uint64_t ns = 0, unit = 100000000;

	if (**s != '.')
		return 0;
	for ((*s)++; **s >= '0' && **s <= '9'; (*s)++, unit /= 10)
		ns += (uint64_t)(**s - '0') * unit;
	return ns;
}

/* "Z" or "+hh:mm" up to the end. */
static bool zone_offset(const char *s, int *ret_seconds)
{
	int sign = *s == '-' ? -1 : 1, hours, minutes;

	if (strcmp(s, "Z") == 0) {
		*ret_seconds = 0;
		return true;
	}
	if (*s != '+' && *s != '-')
		return false;
	s++;
	if (!number(&s, 2, 0, 23, ':', &hours) || !number(&s, 2, 0, 59, '\0', &minutes) || *s)
		return false;
	*ret_seconds = sign * (hours * 3600 + minutes * 60);
	return true;
}

bool kp_dec_parse_time(const char *s, uint64_t *ret_ns)
{
	struct tm tm = { 0 };
	int offset, day;
	uint64_t ns;
	time_t t;

	if (!number(&s, 4, 1970, 9999, '-', &tm.tm_year) || !number(&s, 2, 1, 12, '-', &tm.tm_mon) ||
	    !number(&s, 2, 1, 31, 'T', &tm.tm_mday) || !number(&s, 2, 0, 23, ':', &tm.tm_hour) ||
	    !number(&s, 2, 0, 59, ':', &tm.tm_min) || !number(&s, 2, 0, 59, '\0', &tm.tm_sec))
		return false;
	ns = fraction(&s);
	if (!zone_offset(s, &offset))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	day = tm.tm_mday;
	t = timegm(&tm);
	if (tm.tm_mday != day || t < offset)	/* 30 February; before 1970 */
		return false;
	*ret_ns = (uint64_t)(t - offset) * 1000000000u + ns;
	return true;
}
