#include "proxy/source/webproxy.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"

static const char *environment(const char *capitals, const char *small)
{
	const char *value = getenv(capitals);

	if (!value || !*value)
		value = getenv(small);
	return value ? value : "";
}

/* "https://[::1]:6443/x" -> "::1" */
static char *host_of(const char *url)
{
	const char *host = strstr(url, "://"), *end;

	host = host ? host + 3 : url;
	end = host + strcspn(host, "/");
	for (const char *at; (at = memchr(host, '@', (size_t)(end - host))) != NULL;)
		host = at + 1;
	if (*host == '[')
		return kp_asprintf("%.*s", (int)strcspn(host + 1, "]"), host + 1);
	return kp_asprintf("%.*s", (int)strcspn(host, ":/"), host);
}

static bool is_this_host(const char *url)
{
	KP_AUTO(kp_freep) char *host = host_of(url);

	return strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
	       (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

static char *for_libcurl(const char *proxy)
{
	if (strncasecmp(proxy, "socks5:", 7) == 0)
		return kp_asprintf("socks5h:%s", proxy + 7);
	return kp_strdup(proxy);
}

void kp_webproxy_choose(const char *url, const char *given, struct kp_webproxy *ret)
{
	bool tls = strncasecmp(url, "https:", 6) == 0;
	const char *proxy = "";

	*ret = (struct kp_webproxy){ .except = "" };
	if (given && *given) {
		proxy = given;
	} else if (!is_this_host(url)) {
		proxy = tls ? environment("HTTPS_PROXY", "https_proxy") : environment("HTTP_PROXY", "http_proxy");
		ret->except = environment("NO_PROXY", "no_proxy");
	}
	ret->url = for_libcurl(proxy);
}
