#include "proxy/base/doc_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"

#define EXACT 9007199254740992.0	/* up to here every integer is a double */

/* The words of YAML 1.1 that Kubernetes' reader knows; y and n are strings there. */
static const struct {
	const char *text;
	json_type type;
} words[] = {
	{ "", JSON_NULL }, { "~", JSON_NULL }, { "null", JSON_NULL }, { "Null", JSON_NULL }, { "NULL", JSON_NULL },
	{ "true", JSON_TRUE }, { "True", JSON_TRUE }, { "TRUE", JSON_TRUE },
	{ "yes", JSON_TRUE }, { "Yes", JSON_TRUE }, { "YES", JSON_TRUE },
	{ "on", JSON_TRUE }, { "On", JSON_TRUE }, { "ON", JSON_TRUE },
	{ "false", JSON_FALSE }, { "False", JSON_FALSE }, { "FALSE", JSON_FALSE },
	{ "no", JSON_FALSE }, { "No", JSON_FALSE }, { "NO", JSON_FALSE },
	{ "off", JSON_FALSE }, { "Off", JSON_FALSE }, { "OFF", JSON_FALSE },
};

static const char *const not_numbers[] = {
	".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
};

/* 0x, 0o, 0b or a leading 0 (octal), as Go's ParseInt with base 0. */
static bool parse_int(const char *s, json_int_t *ret)
{
	bool negative = *s == '-';
	const char *digits = s + (*s == '-' || *s == '+');
	unsigned long long v;
	int base = 10;
	char *end;

	if (digits[0] == '0' && digits[1]) {
		char kind = digits[1] | 0x20;

		base = kind == 'x' ? 16 : kind == 'b' ? 2 : 8;
		digits += kind == 'x' || kind == 'b' || kind == 'o' ? 2 : 1;
	}
	if (!strchr("0123456789abcdefABCDEF", *digits) || !*digits)
		return false;
	errno = 0;
	v = strtoull(digits, &end, base);
	if (*end || end == digits || errno || v > (negative ? 1ull << 63 : (1ull << 63) - 1))
		return false;
	*ret = negative ? (json_int_t)(0 - v) : (json_int_t)v;
	return true;
}

/* [-+]? ( .digits | digits [.digits] ) ( [eE] [-+]? digits )? */
static bool is_float(const char *s)
{
	size_t before, after = 0;

	s += *s == '-' || *s == '+';
	before = strspn(s, "0123456789");
	s += before;
	if (*s == '.') {
		after = strspn(s + 1, "0123456789");
		s += 1 + after;
	}
	if (before + after == 0)
		return false;
	if (*s == 'e' || *s == 'E') {
		s++;
		s += *s == '-' || *s == '+';
		if (!strspn(s, "0123456789"))
			return false;
		s += strspn(s, "0123456789");
	}
	return !*s;
}

static json_t *number(const char *s)
{
	json_int_t i;
	double d;

	if (parse_int(s, &i))
		return json_integer(i);
	d = strtod(s, NULL);
	/* Go prints 1e3 as 1000 on the way through JSON, so it becomes an integer. */
	if (d > -EXACT && d < EXACT && d == (double)(json_int_t)d)
		return json_integer((json_int_t)d);
	return json_real(d);
}

json_t *kp_doc_yaml_scalar(const char *s, size_t len)
{
	json_int_t unused;

	for (size_t i = 0; i < KP_N(words); i++)
		if (strcmp(words[i].text, s) == 0)
			return words[i].type == JSON_NULL ? json_null() : json_boolean(words[i].type == JSON_TRUE);
	for (size_t i = 0; i < KP_N(not_numbers); i++)
		if (strcmp(not_numbers[i], s) == 0)
			return NULL;
	if (len < 64 && strchr("+-.0123456789", s[0]) && (is_float(s) || parse_int(s, &unused)))
		return number(s);
	return json_stringn_nocheck(s, len);
}
