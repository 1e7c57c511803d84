#include "proxy/source/httpc_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/source/webproxy.h"

#define KEEPALIVE_IDLE_S	10
#define KEEPALIVE_INTERVAL_S	5
#define KEEPALIVE_PROBES	3
#define UNACKED_MS		20000u	/* sent, and not acknowledged: the path is dead */

/* A dead path shows within KEEPALIVE_IDLE_S + KEEPALIVE_PROBES * KEEPALIVE_INTERVAL_S. */
static int set_socket(void *arg, curl_socket_t fd, curlsocktype type)
{
	static const struct { int option, value; } options[] = {
		{ TCP_KEEPIDLE, KEEPALIVE_IDLE_S }, { TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S },
		{ TCP_KEEPCNT, KEEPALIVE_PROBES }, { TCP_USER_TIMEOUT, UNACKED_MS },
	};
	int on = 1;

	(void)arg;
	(void)type;
	/* What cannot be set only makes us slower to notice. */
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	for (size_t i = 0; i < KP_N(options); i++)
		(void)setsockopt(fd, IPPROTO_TCP, options[i].option, &options[i].value, sizeof(options[i].value));
	return CURL_SOCKOPT_OK;
}

static void add_header(struct kp_http_call *c, const char *name, const char *value)
{
	KP_AUTO(kp_freep) char *line = kp_asprintf("%s: %s", name, value);

	c->headers = curl_slist_append(c->headers, line);
}

static void set_blob(CURL *easy, CURLoption option, const struct kp_http_bytes *b)
{
	struct curl_blob blob = { .data = (void *)b->data, .len = b->len, .flags = CURL_BLOB_COPY };

	if (b->data)
		curl_easy_setopt(easy, option, &blob);
}

/*
 * Bytes, not names of files: libcurl compares them when it looks for a connection, so
 * that a new certificate gets a new one, and does not keep an old authority for a day.
 */
static void set_tls(CURL *easy, const struct kp_http_identity *who)
{
	if (who->ca.data) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);	/* or the system's would do as well */
		set_blob(easy, CURLOPT_CAINFO_BLOB, &who->ca);
	}
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, (long)!who->insecure);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, who->insecure ? 0L : 2L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	set_blob(easy, CURLOPT_SSLCERT_BLOB, &who->cert);
	set_blob(easy, CURLOPT_SSLKEY_BLOB, &who->key);
}

static char *url_part(CURLU *url, CURLUPart part, unsigned flags)
{
	char *from = NULL, *copy = NULL;

	if (curl_url_get(url, part, &from, flags) == CURLUE_OK)
		copy = kp_strdup(from);
	curl_free(from);
	return copy;
}

/*
 * libcurl takes the name to verify from the URL: so the URL gets that name, the Host
 * header the true one, and the connection goes to where it went before.
 */
static char *rename_server(struct kp_http_call *c, CURLU *url, const char *name)
{
	KP_AUTO(kp_freep) char *host = url_part(url, CURLUPART_HOST, 0);
	KP_AUTO(kp_freep) char *port = url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	KP_AUTO(kp_freep) char *authority = kp_asprintf("%s:%s", host ? host : "", port ? port : "");
	KP_AUTO(kp_freep) char *to = kp_asprintf("::%s", authority);

	add_header(c, "Host", authority);
	c->connect_to = curl_slist_append(NULL, to);
	if (curl_url_set(url, CURLUPART_HOST, name, 0) != CURLUE_OK)
		return NULL;
	return url_part(url, CURLUPART_URL, 0);
}

static int set_url(struct kp_http_call *c, const char *text, const char *tls_server_name, struct kp_err *err)
{
	KP_AUTO(kp_freep) char *full = NULL;
	CURLU *url = curl_url();
	CURLUcode code = curl_url_set(url, CURLUPART_URL, text, 0);
	bool tls = strncasecmp(text, "https:", 6) == 0;

	if (code == CURLUE_OK)
		full = tls_server_name && tls ? rename_server(c, url, tls_server_name) : kp_strdup(text);
	curl_url_cleanup(url);
	if (!full)
		return kp_err_set(err, -EINVAL, "%s: %s", text, code ? curl_url_strerror(code) : "bad tls-server-name");
	curl_easy_setopt(c->easy, CURLOPT_URL, full);
	curl_easy_setopt(c->easy, CURLOPT_CONNECT_TO, c->connect_to);
	/* Wait for the first connection to tell whether one is enough; without TLS that cannot be. */
	curl_easy_setopt(c->easy, CURLOPT_HTTP_VERSION, tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c->easy, CURLOPT_PIPEWAIT, (long)tls);
	return 0;
}

static void set_identity(struct kp_http_call *c, const struct kp_http_identity *who)
{
	if (who->token) {
		KP_AUTO(kp_freep) char *bearer = kp_asprintf("Bearer %s", who->token);

		add_header(c, "Authorization", bearer);
	} else if (who->username) {
		curl_easy_setopt(c->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		curl_easy_setopt(c->easy, CURLOPT_USERNAME, who->username);
		curl_easy_setopt(c->easy, CURLOPT_PASSWORD, who->password ? who->password : "");
	}
	curl_easy_setopt(c->easy, CURLOPT_ACCEPT_ENCODING, who->no_compression ? "identity" : "gzip");
	set_tls(c->easy, who);
}

/* A proxy that speaks TLS is trusted as the server is, which is what client-go does. */
static void set_proxy(struct kp_http_call *c, const char *url, const struct kp_http_identity *who)
{
	struct kp_webproxy proxy;

	kp_webproxy_choose(url, who->proxy_url, &proxy);
	c->by_proxy = *proxy.url;
	curl_easy_setopt(c->easy, CURLOPT_PROXY, proxy.url);
	curl_easy_setopt(c->easy, CURLOPT_NOPROXY, proxy.except);
	if (c->by_proxy) {
		set_blob(c->easy, CURLOPT_PROXY_CAINFO_BLOB, &who->ca);
		curl_easy_setopt(c->easy, CURLOPT_PROXY_SSL_VERIFYPEER, (long)!who->insecure);
		curl_easy_setopt(c->easy, CURLOPT_PROXY_SSL_VERIFYHOST, who->insecure ? 0L : 2L);
	}
	free(proxy.url);
}

static void set_body(struct kp_http_call *c, const struct kp_http_body *body)
{
	add_header(c, "Content-Type", body->content_type);
	curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE, (long)body->len);
	curl_easy_setopt(c->easy, CURLOPT_COPYPOSTFIELDS, body->data);
	curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, body->method);
}

int kp_http_call_ask(struct kp_http_call *c, const char *url, const char *accept, const struct kp_http_body *body,
		     const struct kp_http_identity *who, struct kp_err *err)
{
	int r = set_url(c, url, who->tls_server_name, err);

	if (r < 0)
		return r;
	add_header(c, "Accept", accept);
	set_identity(c, who);
	set_proxy(c, url, who);
	if (body)
		set_body(c, body);
	curl_easy_setopt(c->easy, CURLOPT_SOCKOPTFUNCTION, set_socket);
	curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->headers);
	return 0;
}
