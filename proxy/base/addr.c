#include "proxy/base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const kp_family_names[KP_N_FAMILIES] = { "IPv4", "IPv6" };

static bool parse_v4(const char *s, uint8_t out[4])
{
	for (int i = 0; i < 4; i++) {
		unsigned v = 0;
		int digits = 0;

		for (; *s >= '0' && *s <= '9'; s++, digits++) {
			v = v * 10 + (unsigned)(*s - '0');
			if (v > 255)
				return false;
		}
		if (!digits || *s != (i < 3 ? '.' : '\0'))
			return false;
		out[i] = (uint8_t)v;
		s++;
	}
	return true;
}

bool kp_addr_parse(const char *s, struct kp_addr *ret)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct kp_addr a = { 0 };

	if (!strchr(s, ':')) {
		if (!parse_v4(s, a.b))
			return false;
		*ret = a;
		return true;
	}
	if (inet_pton(AF_INET6, s, a.b) != 1)
		return false;
	a.family = KP_IPV6;
	if (memcmp(a.b, mapped, sizeof(mapped)) == 0) {
		memcpy(a.b, a.b + 12, 4);
		memset(a.b + 4, 0, 12);
		a.family = KP_IPV4;
	}
	*ret = a;
	return true;
}

static void clear_host_bits(struct kp_cidr *c)
{
	for (unsigned bit = c->len; bit < kp_addr_bits(c->addr.family); bit++)
		c->addr.b[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
}

bool kp_cidr_parse(const char *s, struct kp_cidr *ret)
{
	const char *slash = strchr(s, '/');
	char text[KP_ADDR_STRLEN];
	struct kp_cidr c;
	unsigned len = 0;

	if (!slash || (size_t)(slash - s) >= sizeof(text))
		return false;
	memcpy(text, s, (size_t)(slash - s));
	text[slash - s] = '\0';
	if (!kp_addr_parse(text, &c.addr) || (c.addr.family == KP_IPV4) != !strchr(text, ':'))
		return false;
	s = slash + 1;
	if (!*s || strlen(s) > 3)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		len = len * 10 + (unsigned)(*s - '0');
	}
	if (len > kp_addr_bits(c.addr.family))
		return false;
	c.len = (uint8_t)len;
	clear_host_bits(&c);
	*ret = c;
	return true;
}

const char *kp_addr_str(const struct kp_addr *a, char *out)
{
	return inet_ntop(a->family == KP_IPV4 ? AF_INET : AF_INET6, a->b, out, KP_ADDR_STRLEN);
}

const char *kp_cidr_str(const struct kp_cidr *c, char *out)
{
	size_t n;

	kp_addr_str(&c->addr, out);
	n = strlen(out);
	snprintf(out + n, KP_CIDR_STRLEN - n, "/%u", c->len);
	return out;
}

int kp_addr_cmp(const struct kp_addr *a, const struct kp_addr *b)
{
	return memcmp(a, b, sizeof(*a));
}

int kp_addr_order(const void *a, const void *b)
{
	return kp_addr_cmp(a, b);
}

bool kp_addr_is_loopback(const struct kp_addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };

	return a->family == KP_IPV4 ? a->b[0] == 127 : memcmp(a->b, one, 16) == 0;
}

bool kp_addr_is_link_local(const struct kp_addr *a)
{
	return a->family == KP_IPV6 && a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

bool kp_addr_is_zero(const struct kp_addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->b, zero, 16) == 0;
}

bool kp_cidr_contains(const struct kp_cidr *c, const struct kp_addr *a)
{
	unsigned whole = c->len / 8, rest = c->len % 8;
	uint8_t mask = (uint8_t)(0xff00u >> rest);

	if (c->addr.family != a->family || memcmp(c->addr.b, a->b, whole) != 0)
		return false;
	return !rest || ((c->addr.b[whole] ^ a->b[whole]) & mask) == 0;
}
