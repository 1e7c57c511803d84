#include "proxy/source/reflector_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"

void kp_reflector_set(char **to, const char *text)
{
	free(*to);
	*to = *text ? kp_strdup(text) : NULL;
}

void kp_reflector_trouble(struct kp_reflector *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->trouble, sizeof(r->trouble), fmt, ap);
	va_end(ap);
}

void kp_reflector_settle(struct kp_reflector *r, uint64_t node_version)
{
	r->n_failed = 0;
	r->error[0] = '\0';
	kp_kube_listed(r->s, node_version);
}

static void gone(void *arg, const char *key)
{
	struct kp_reflector *r = arg;

	kp_kube_remove(r->s, r->what->kind, key);
}

static void complete(struct kp_reflector *r, const char *version)
{
	size_t n = r->lossy ? 0 : kp_known_sweep(r->known, gone, r);

	kp_debug("api", "%s: %zu listed, %zu gone, version %s", r->what->name, kp_known_len(r->known), n, version);
	kp_reflector_set(&r->version, *version ? version : "0");	/* any */
	r->phase = KP_WATCH;
	r->synced = true;
	r->unavailable = r->was_broken_off = false;
	r->listed_ms = kp_now_ms();
	r->counts_apart |= r->doubted && kp_version_number(version) >= r->doubted;
	r->doubted = 0;
	r->n_expired = r->n_broken = r->n_brief = 0;
	kp_reflector_settle(r, r->what->is_own_node ? kp_version_number(version) : 0);
}

static int on_refused(struct kp_reflector *r, const struct kp_decode_error *why)
{
	KP_AUTO(kp_freep) char *text = kp_asprintf("%s: %s%s%s; its last good form stays", why->object, why->field,
						   *why->field ? ": " : "", why->why);

	kp_kube_say(r->s, KP_LOG_WARN, text);
	if (why->kind == r->what->kind)
		kp_known_keep(r->known, why->key);
	r->lossy |= !*why->key;
	return 0;
}

static int on_bad(struct kp_reflector *r, struct kp_event *e)
{
	kp_reflector_trouble(r, "%s", e->text);
	if (r->phase == KP_WATCH)	/* an event may be lost: only a list can tell */
		return -EPROTO;
	KP_AUTO(kp_freep) char *text = kp_asprintf("%s: %s; skipped", r->what->name, e->text);

	kp_kube_say(r->s, KP_LOG_WARN, text);
	r->lossy = true;
	return 0;
}

/* Is it of this collection, and news? < 0: it is not even a Kubernetes object of this kind. */
static int is_news(struct kp_reflector *r, struct kp_event *e)
{
	if (e->object.kind != r->what->kind) {
		e->text = "an object of another kind";
		return on_bad(r, e);
	}
	if (r->what->is_own_node && strcmp(e->object.key, r->node_name) != 0)
		return 0;
	if (r->phase != KP_WATCH)
		return 1;
	if (*e->version)
		kp_reflector_set(&r->version, e->version);
	return !kp_known_is_stale(r->known, e->object.key, e->version);
}

static int on_object(struct kp_reflector *r, struct kp_event *e)
{
	int news = e->refused ? on_refused(r, e->refused) : is_news(r, e);

	if (news <= 0)
		return news;
	kp_known_put(r->known, e->object.key, e->version);
	kp_kube_upsert(r->s, &e->object);
	return 0;
}

static int on_deleted(struct kp_reflector *r, struct kp_event *e)
{
	int news;

	if (e->refused) {	/* that it is gone is all that matters */
		e->object.kind = e->refused->kind;
		snprintf(e->object.key, sizeof(e->object.key), "%s", e->refused->key);
		e->object.value = NULL;
	}
	news = is_news(r, e);
	if (news > 0 && kp_known_del(r->known, e->object.key))
		kp_kube_remove(r->s, r->what->kind, e->object.key);
	return news < 0 ? news : 0;
}

static int on_bookmark(struct kp_reflector *r, struct kp_event *e)
{
	r->has_bookmarks = r->phase == KP_WATCH;	/* the end of a list is none of those that come by the clock */
	if (r->phase == KP_STREAM && e->initial_end)
		complete(r, e->version);
	else if (r->phase == KP_WATCH && *e->version)
		kp_reflector_set(&r->version, e->version);
	return 0;
}

static int on_error(struct kp_reflector *r, struct kp_event *e)
{
	r->error_code = e->code;
	kp_reflector_trouble(r, "%d: %s", e->code, e->text);
	return -EREMOTEIO;
}

static int on_page(struct kp_reflector *r, struct kp_event *e)
{
	if (!r->list_version)
		kp_reflector_set(&r->list_version, e->version);
	kp_reflector_set(&r->next, e->next);
	if (!r->next)
		complete(r, r->list_version ? r->list_version : "");
	return 0;
}

int kp_reflector_event(void *arg, struct kp_event *e)
{
	static int (*const handlers[])(struct kp_reflector *, struct kp_event *) = {
		[KP_EVENT_ADDED] = on_object, [KP_EVENT_MODIFIED] = on_object, [KP_EVENT_DELETED] = on_deleted,
		[KP_EVENT_BOOKMARK] = on_bookmark, [KP_EVENT_ERROR] = on_error, [KP_EVENT_PAGE] = on_page,
		[KP_EVENT_BAD] = on_bad,
	};
	struct kp_reflector *r = arg;

	r->event_ms = r->heard_ms;
	return handlers[e->type](r, e);
}
