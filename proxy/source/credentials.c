#include "proxy/source/credentials.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

/* One secret of the kubeconfig, with what is known of its file. */
struct secret {
	const struct kp_kube_secret *from;
	const char *what;
	struct kp_buf content;		/* of the file */
	struct stat look;		/* when it was read */
};

enum { CA, CERT, KEY, TOKEN, N_SECRETS };

struct kp_credentials {
	struct secret secrets[N_SECRETS];
	struct kp_http_identity identity;
};

static bool looks_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool same_bytes(const struct kp_buf *a, const struct kp_buf *b)
{
	return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

/* Files with a token end with a newline, mostly; in PEM it does not matter. */
static void trim(struct kp_buf *b)
{
	size_t blank = 0;

	while (blank < b->len && isspace((unsigned char)b->data[blank]))
		blank++;
	while (b->len > blank && isspace((unsigned char)b->data[b->len - 1]))
		b->len--;
	b->len -= blank;
	memmove(b->data, b->data + blank, b->len);
	b->data[b->len] = '\0';
}

/* 1: the content is new. */
static int read_again(struct secret *s, bool force, struct kp_err *err)
{
	struct kp_buf fresh = { 0 };
	struct stat look;
	int r;

	if (!s->from->file)
		return 0;
	if (stat(s->from->file, &look) < 0)
		return kp_err_set(err, -errno, "%s %s: %s", s->what, s->from->file, strerror(errno));
	if (!force && looks_same(&look, &s->look))
		return 0;
	r = kp_kubeconfig_read_file(s->from->file, &fresh, err);
	if (r == 0)
		trim(&fresh);
	if (r == 0 && !fresh.len)	/* being replaced in place, most likely */
		r = kp_err_set(err, -ENODATA, "%s: the file is empty", s->from->file);
	if (r < 0) {
		kp_buf_release(&fresh);
		return kp_err_wrap(err, r, "%s", s->what);
	}
	s->look = look;
	r = !same_bytes(&fresh, &s->content);
	kp_buf_release(&s->content);
	s->content = fresh;
	return r;
}

static struct kp_http_bytes bytes_of(const struct secret *s)
{
	if (s->from->data)
		return (struct kp_http_bytes){ s->from->data, s->from->len };
	return (struct kp_http_bytes){ s->content.data, s->content.len };
}

int kp_credentials_refresh(struct kp_credentials *c, bool force, bool *ret_changed, struct kp_err *err)
{
	int failed = 0;

	*ret_changed = false;
	for (int i = 0; i < N_SECRETS; i++) {
		int r = read_again(&c->secrets[i], force, err);

		if (r < 0)
			failed = r;
		else
			*ret_changed |= r;
	}
	c->identity.ca = bytes_of(&c->secrets[CA]);
	c->identity.cert = bytes_of(&c->secrets[CERT]);
	c->identity.key = bytes_of(&c->secrets[KEY]);
	c->identity.token = bytes_of(&c->secrets[TOKEN]).data;
	return failed;
}

const struct kp_http_identity *kp_credentials_identity(const struct kp_credentials *c)
{
	return &c->identity;
}

int kp_credentials_new(struct kp_credentials **ret, const struct kp_kubeconfig *k, struct kp_err *err)
{
	struct kp_credentials *c = kp_calloc(1, sizeof(*c));
	bool changed;
	int r;

	c->secrets[CA] = (struct secret){ .from = &k->ca, .what = "certificate authority" };
	c->secrets[CERT] = (struct secret){ .from = &k->cert, .what = "client certificate" };
	c->secrets[KEY] = (struct secret){ .from = &k->key, .what = "client key" };
	c->secrets[TOKEN] = (struct secret){ .from = &k->token, .what = "token" };
	c->identity = (struct kp_http_identity){
		.tls_server_name = k->tls_server_name, .proxy_url = k->proxy_url, .insecure = k->insecure,
		.no_compression = k->no_compression, .username = k->username, .password = k->password,
	};
	r = kp_credentials_refresh(c, true, &changed, err);
	if (r < 0) {
		kp_credentials_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

struct kp_credentials *kp_credentials_free(struct kp_credentials *c)
{
	if (!c)
		return NULL;
	for (int i = 0; i < N_SECRETS; i++)
		kp_buf_release(&c->secrets[i].content);
	free(c);
	return NULL;
}
