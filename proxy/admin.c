#include "proxy/admin.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "healthz/request.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

struct table {
	const struct kp_admin_command *commands;
	size_t n;
	void *arg;
};

struct kp_admin {
	struct table *tables;
	size_t n, cap;
	const char *held;	/* why nothing may be changed; NULL: it may */
};

struct kp_admin *kp_admin_new(void)
{
	return kp_calloc(1, sizeof(struct kp_admin));
}

struct kp_admin *kp_admin_free(struct kp_admin *a)
{
	if (a)
		free(a->tables);
	free(a);
	return NULL;
}

void kp_admin_add(struct kp_admin *a, const struct kp_admin_command *table, size_t n, void *arg)
{
	kp_grow(&a->tables, a->n, &a->cap);
	a->tables[a->n++] = (struct table){ table, n, arg };
}

void kp_admin_hold(struct kp_admin *a, const char *why)
{
	a->held = why;
}

int kp_admin_refuse(struct kp_buf *out, int status, const char *why)
{
	json_t *o = json_pack("{s:s}", "error", why);
	KP_AUTO(kp_freep) char *text = json_dumps(o, JSON_COMPACT);

	kp_buf_puts(out, text);
	json_decref(o);
	return status;
}

/* The socket's mode says the same; here it also holds for whoever was handed a connection. */
static bool may_change(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	kp_warn("admin", "refused a command of user %u, process %d", (unsigned)peer.uid, (int)peer.pid);
	return false;
}

static const struct kp_admin_command *find(const struct kp_admin *a, const struct hz_req *req, void **ret_arg)
{
	for (const struct table *t = a->tables; t < a->tables + a->n; t++)
		for (size_t i = 0; i < t->n; i++)
			if (hz_req_is_path(req, t->commands[i].path)) {
				*ret_arg = t->arg;
				return &t->commands[i];
			}
	return NULL;
}

int kp_admin_run(const struct kp_admin *a, int fd, const struct hz_req *req, struct kp_buf *out)
{
	void *arg = NULL;
	const struct kp_admin_command *c = find(a, req, &arg);

	if (!c)
		return 404;
	if (c->changes && !req->is_post)
		return kp_admin_refuse(out, 405, "this changes something: use POST");
	if (c->changes && !may_change(fd))
		return kp_admin_refuse(out, 403, "only root and the user that the agent runs as may do this");
	if (c->changes && a->held)
		return kp_admin_refuse(out, 409, a->held);
	return c->run(arg, req, out);
}
