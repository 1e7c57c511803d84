#include "proxy/base/utf8.h"

#include <stdint.h>
#include <string.h>

#include "proxy/base/buf.h"

size_t kp_utf8_len(const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t len = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
	uint8_t low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80;	/* below: in more bytes than needed */
	uint8_t high = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;	/* above: surrogates, and after the last one */

	if (len > n || (len > 1 && (p[1] < low || p[1] > high)))
		return 0;
	for (size_t i = 2; i < len; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return len;
}

bool kp_utf8_is(const char *s)
{
	size_t left = strlen(s), len = 1;

	for (; left && len; s += len, left -= len)
		len = kp_utf8_len(s, left);
	return !left;
}

static json_t *repaired(const char *s, size_t n)
{
	struct kp_buf text = { 0 };
	json_t *value;

	for (size_t len; n; s += len, n -= len) {
		len = kp_utf8_len(s, n);
		if (len)
			kp_buf_add(&text, s, len);
		else
			kp_buf_puts(&text, "\xef\xbf\xbd"), len = 1;
	}
	value = json_stringn_nocheck(text.data, text.len);
	kp_buf_release(&text);
	return value;
}

json_t *kp_json_textn(const char *s, size_t n)
{
	json_t *value = json_stringn(s, n);

	return value ? value : repaired(s, n);
}

json_t *kp_json_text(const char *s)
{
	return s ? kp_json_textn(s, strlen(s)) : json_null();
}
