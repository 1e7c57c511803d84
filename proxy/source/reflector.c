#include "proxy/source/reflector_impl.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/source/status.h"

/*
 * One collection, as client-go's reflector:
 *
 *	STREAM ---------(initial events end)---> WATCH     one request for both
 *	  | refused, ignored, broken               ^
 *	PAGES ----------(last page)----------------+       one request each
 *
 * A watch that ends begins again from the last version seen; 410 and lost events
 * lead back to a list. Nothing here removes an object before a list is complete.
 */

#define PAGE_LIMIT	500
#define MAX_REFUSAL	(16u << 10)	/* bytes of an error's body */
#define HEAD_MS		25000		/* until the first byte of an answer */
#define HEAD_ONE_PEER_MS 65000		/* the server may let us queue for a minute; that it lives is asked otherwise */
#define STREAM_MS	5000		/* silence before the initial events end: an old server, it never sends that */
#define PAGE_MS		25000
#define WATCH_MS	28000		/* of silence, where a watch has its own fate; the server was asked to end it sooner */
#define SHORT_WATCH_S	20		/* there */
#define LONG_WATCH_S	300		/* where an answer speaks for all, see kp_httpc_one_peer; up to twice that */
#define BOOKMARK_MS	90000		/* servers that send them do so every minute */
#define GRACE_MS	15000
#define BRIEF_MS	1000		/* a watch that ends sooner than that is a failure */
#define FRESH_MS	5000		/* a list that was outdated sooner than that is a failure */
#define UNAVAILABLE_MS	300000
#define PATIENCE	3		/* failures before nothing waits for an optional collection any more */

static void relist(struct kp_reflector *r)
{
	kp_reflector_set(&r->version, "");
	kp_reflector_set(&r->next, "");
}

/* --- time --- */

static void wait_ms(struct kp_reflector *r, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(r->timer, &tv);
}

static void again(struct kp_reflector *r)
{
	wait_ms(r, 0);
}

static uint64_t deadline(const struct kp_reflector *r)
{
	if (r->restart)
		return 0;
	if (!r->has_head)
		return r->began_ms + (kp_kube_one_peer(r->s) ? HEAD_ONE_PEER_MS : HEAD_MS);
	if (r->phase == KP_STREAM)
		return r->heard_ms + STREAM_MS;
	if (r->phase == KP_PAGES)
		return r->heard_ms + PAGE_MS;
	if (!r->head.one_peer)
		return r->heard_ms + WATCH_MS;
	return r->has_bookmarks && r->heard_ms + BOOKMARK_MS < r->until_ms ? r->heard_ms + BOOKMARK_MS : r->until_ms;
}

static void arm(struct kp_reflector *r)
{
	uint64_t due = deadline(r), now = kp_now_ms();

	wait_ms(r, due > now ? due - now : 0);
}

/* --- what went wrong --- */

/* Every failed attempt passes here. */
static void back_off(struct kp_reflector *r, uint64_t at_least_ms, const char *error)
{
	uint64_t ms = kp_backoff_next(&r->backoff, kp_now_ms(), kp_kube_random());

	snprintf(r->error, sizeof(r->error), "%s", error);
	wait_ms(r, ms > at_least_ms ? ms : at_least_ms);
	r->n_failed++;
	if (!r->what->optional || r->n_failed != PATIENCE || r->synced)
		return;
	r->unavailable = true;
	kp_kube_listed(r->s, 0);
}

static void fail(struct kp_reflector *r, uint64_t at_least_ms)
{
	KP_AUTO(kp_freep) char *text = kp_asprintf("%s: %s", r->what->name, r->trouble);

	kp_kube_say(r->s, r->head.status == 403 ? KP_LOG_ERROR : KP_LOG_WARN, text);
	back_off(r, at_least_ms, r->trouble);
}

static void unreachable(struct kp_reflector *r, const char *why)
{
	if (kp_kube_unreachable(r->s, &r->origin, why)) {
		again(r);
		return;
	}
	r->is_cut_off = true;
	back_off(r, 0, why);
}

static void leave_stream(struct kp_reflector *r, const char *why)
{
	kp_debug("api", "%s: no WatchList here (%s): lists in pages", r->what->name, why);
	r->no_stream = true;
	again(r);
}

static bool lasted(const struct kp_reflector *r)
{
	return kp_now_ms() - r->began_ms >= BRIEF_MS;
}

/* The stream broke: at once again if it had lasted, as client-go. */
static void broken_off(struct kp_reflector *r, int code, const char *why)
{
	bool watched = r->phase == KP_WATCH && r->has_head && r->head.status == 200;

	r->was_broken_off = true;
	if (r->phase == KP_STREAM && r->has_head && ++r->n_broken >= 2) {
		leave_stream(r, why);
		return;
	}
	if (!watched || code == -ETIMEDOUT) {
		unreachable(r, why);
		return;
	}
	kp_debug("api", "%s: watch broken off: %s", r->what->name, why);
	if (lasted(r)) {
		again(r);
	} else {
		r->is_cut_off = true;
		back_off(r, 0, why);
	}
}

/* --- the end of a request --- */

/*
 * A watch that was away for long has to expect that, and so has one whose server began anew: its
 * cache has no history. Right after a list, with nothing between, it is a failure. A list cannot be
 * too old.
 */
static void expired(struct kp_reflector *r)
{
	relist(r);
	if (r->phase != KP_WATCH)
		fail(r, r->head.retry_after_ms);
	else if (r->was_broken_off || kp_now_ms() - r->listed_ms >= FRESH_MS)
		again(r);
	else
		back_off(r, r->head.retry_after_ms, r->trouble);
}

/* An ERROR event in a stream that began well. */
static void stopped(struct kp_reflector *r)
{
	if (r->phase == KP_STREAM) {
		leave_stream(r, r->trouble);
		return;
	}
	if (r->error_code == 410) {
		expired(r);
		return;
	}
	if (r->error_code != 429 && r->error_code != 500)	/* as client-go: these do not say that we missed anything */
		relist(r);
	fail(r, 0);
}

/* A data error of ours: the body is not what it should be. */
static void unusable(struct kp_reflector *r)
{
	if (r->phase == KP_WATCH)
		relist(r);
	fail(r, 0);
}

static void ended(struct kp_reflector *r)
{
	if (r->asked == KP_PAGES) {
		again(r);	/* the next page, or the watch */
	} else if (r->phase == KP_STREAM) {
		leave_stream(r, "it ends too soon");
	} else if (!lasted(r)) {
		if (++r->n_brief >= 2)	/* perhaps it is no watch at all; a list will tell */
			relist(r);
		back_off(r, 0, "the watch ends as soon as it begins");
	} else {
		r->n_brief = 0;
		again(r);
	}
}

static void unauthorized(struct kp_reflector *r, const char *text)
{
	KP_AUTO(kp_freep) char *say = kp_asprintf("the API server refuses our credentials: 401: %s", text);

	if (kp_kube_unauthorized(r->s, &r->origin)) {
		again(r);
		return;
	}
	kp_kube_say(r->s, KP_LOG_ERROR, say);
	back_off(r, r->head.retry_after_ms, say);
}

/* A page token that is too old: from the start; when that does not help, without pages. */
static void page_expired(struct kp_reflector *r)
{
	kp_reflector_set(&r->next, "");
	r->no_limit = ++r->n_expired >= 2;
	again(r);
}

static void not_to_be_had(struct kp_reflector *r, const char *text)
{
	KP_AUTO(kp_freep) char *say = kp_asprintf("%s: %ld: %s; going on without", r->what->name, r->head.status, text);

	kp_kube_say(r->s, KP_LOG_INFO, say);
	r->unavailable = true;
	kp_reflector_settle(r, 0);
	snprintf(r->error, sizeof(r->error), "%ld: %s", r->head.status, text);
	wait_ms(r, UNAVAILABLE_MS);
}

static bool is_refusal_of_request(long status)
{
	static const long others[] = { 401, 403, 408, 410, 429 };	/* 403: the roles of a server that has just begun, perhaps */

	for (size_t i = 0; i < KP_N(others); i++)
		if (status == others[i])
			return false;
	return status >= 400 && status < 500;
}

/* What can be left out of the request, is: 1. */
static bool ask_for_less(struct kp_reflector *r)
{
	if (r->phase == KP_STREAM)
		r->no_stream = true;
	else if (r->phase == KP_PAGES && r->head.status == 400 && r->what->extra_selector && !r->no_extra)
		r->no_extra = true;
	else if (r->phase == KP_PAGES && r->head.status == 404 && r->what->older_path && !r->use_older)
		r->use_older = true;
	else
		return false;
	return true;
}

static void refused(struct kp_reflector *r)
{
	KP_AUTO(kp_freep) char *text = kp_watch_refusal(r->refusal.data ? r->refusal.data : "", r->refusal.len);
	long status = r->head.status;

	kp_reflector_trouble(r, "%ld: %s", status, text);
	if (status == 401) {
		unauthorized(r, text);
	} else if (is_refusal_of_request(status) && ask_for_less(r)) {
		kp_debug("api", "%s: %s: asking for less", r->what->name, r->trouble);
		again(r);
	} else if (status == 410 && r->phase == KP_PAGES && r->next) {
		page_expired(r);
	} else if (r->what->optional && (status == 404 || (status == 403 && !r->synced))) {
		r->use_older = false;
		relist(r);
		not_to_be_had(r, text);
	} else if (status >= 502 && status <= 504 && !r->head.retry_after_ms) {	/* mostly a proxy's words: nothing was missed */
		unreachable(r, r->trouble);
	} else if (status == 410) {
		expired(r);
	} else {
		if (r->phase == KP_WATCH && status != 403 && status != 429 && status != 503)
			relist(r);	/* most likely it does not like the version */
		fail(r, r->head.retry_after_ms);
	}
}

/* --- a request --- */

static enum kp_body_kind body_kind(const struct kp_reflector *r)
{
	return r->phase == KP_PAGES ? KP_BODY_LIST : KP_BODY_WATCH;
}

static void on_head(void *arg, const struct kp_http_head *head)
{
	struct kp_reflector *r = arg;

	r->has_head = true;
	r->head = *head;
	r->head.content_type = NULL;
	r->heard_ms = kp_now_ms();
	if (head->status < 500)
		kp_kube_answered(r->s);
	if (head->status == 200) {
		r->codec = kp_codec_find(head->content_type);
		if (r->codec)
			r->body = r->codec->open(body_kind(r), kp_reflector_event, r);
		else
			kp_reflector_trouble(r, "the answer is \"%.100s\", neither JSON nor protobuf", head->content_type);
		if (r->phase == KP_WATCH)
			r->n_failed = 0, r->error[0] = '\0';
	}
	arm(r);
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct kp_reflector *r = arg;
	enum kp_reflector_phase before = r->phase;
	bool had_bookmarks = r->has_bookmarks;
	struct kp_err err = { 0 };
	int result;

	r->heard_ms = kp_now_ms();
	if (r->head.status != 200) {
		if (r->refusal.len + n <= MAX_REFUSAL)
			kp_buf_add(&r->refusal, p, n);
		return 0;
	}
	if (!r->codec)
		return -EPROTO;
	result = r->codec->feed(r->body, p, n, &err);
	if (err.code)
		kp_reflector_trouble(r, "%s", err.msg);
	if (r->phase != before || r->has_bookmarks != had_bookmarks)
		arm(r);
	return result;
}

static int end_body(struct kp_reflector *r, int code)
{
	struct kp_err err = { 0 };

	if (code == 0 && r->head.status == 200 && !r->codec)
		code = -EPROTO;
	if (code == 0 && r->body)
		code = r->codec->end(r->body, &err);
	if (err.code)
		kp_reflector_trouble(r, "%s", err.msg);
	if (r->codec)
		r->body = r->codec->free(r->body);
	return code;
}

static void on_done(void *arg, int code, const char *why)
{
	struct kp_reflector *r = arg;

	r->call = NULL;
	event_del(r->timer);
	code = end_body(r, code);
	if (why)
		broken_off(r, code, why);
	else if (code == -EREMOTEIO)
		stopped(r);
	else if (code < 0)
		unusable(r);
	else if (r->head.status != 200)
		refused(r);
	else
		ended(r);
	kp_buf_release(&r->refusal);
}

static enum kp_reflector_phase next_phase(const struct kp_reflector *r)
{
	if (r->version)
		return KP_WATCH;
	return r->no_stream || r->next ? KP_PAGES : KP_STREAM;
}

static unsigned watch_seconds(const struct kp_reflector *r)
{
	if (r->phase == KP_WATCH && !kp_kube_one_peer(r->s))
		return SHORT_WATCH_S + kp_kube_random() % 5;
	return LONG_WATCH_S + kp_kube_random() % LONG_WATCH_S;
}

static void write_path(struct kp_reflector *r, struct kp_buf *b)
{
	const struct kp_collection *c = r->what;
	unsigned seconds = watch_seconds(r);

	kp_buf_puts(b, r->use_older ? c->older_path : c->path);
	kp_buf_printf(b, "?%s", r->selector);
	if (c->extra_selector && !r->no_extra)
		kp_buf_printf(b, "&%s", c->extra_selector);
	r->until_ms = kp_now_ms() + seconds * 1000ull + GRACE_MS;
	switch (r->phase) {
	case KP_STREAM:
		kp_buf_printf(b, "&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
			      "&allowWatchBookmarks=true&timeoutSeconds=%u", seconds);
		break;
	case KP_PAGES:
		if (!r->no_limit)
			kp_buf_printf(b, "&limit=%d", PAGE_LIMIT);
		if (r->next) {
			KP_AUTO(kp_freep) char *token = kp_http_escape(r->next);

			kp_buf_printf(b, "&continue=%s", token);
		}
		break;
	case KP_WATCH: {
		KP_AUTO(kp_freep) char *version = kp_http_escape(r->version);

		kp_buf_printf(b, "&watch=true&allowWatchBookmarks=true&resourceVersion=%s&timeoutSeconds=%u",
			      version, seconds);
		break;
	}
	}
}

static void begin_list(struct kp_reflector *r)
{
	kp_known_begin(r->known);
	kp_reflector_set(&r->list_version, "");
	r->lossy = false;
	if (r->what->is_own_node)
		kp_kube_listing_node(r->s);
}

static void begin(struct kp_reflector *r)
{
	static const struct kp_http_handler handler = { on_head, on_data, on_done };
	struct kp_buf path = { 0 };
	struct kp_err err = { 0 };

	if (r->what->is_own_node && r->asked != KP_PAGES)	/* it costs nothing, and tells of the store: see kp_kube_listing_node */
		relist(r);
	r->asked = r->phase = next_phase(r);
	if (r->phase != KP_WATCH && !r->next)
		begin_list(r);
	r->began_ms = r->heard_ms = kp_now_ms();
	r->has_head = r->is_cut_off = r->has_bookmarks = false;
	r->head = (struct kp_http_head){ 0 };
	r->codec = NULL;
	r->error_code = 0;
	r->trouble[0] = '\0';
	write_path(r, &path);
	arm(r);
	if (kp_kube_get(r->s, path.data, body_kind(r), &handler, r, &r->origin, &r->call, &err) < 0) {
		kp_reflector_trouble(r, "%s", err.msg);
		fail(r, 0);
	}
	kp_buf_release(&path);
}

static void drop_call(struct kp_reflector *r)
{
	r->call = kp_httpc_cancel(r->call);
	if (r->codec)
		r->body = r->codec->free(r->body);
	kp_buf_release(&r->refusal);
}

static void overdue(struct kp_reflector *r)
{
	static const char why[] = "no answer in time";

	if (!r->has_head && kp_kube_reset_mute(r->s, r->began_ms, why))
		return;		/* on_done was told */
	drop_call(r);
	if (!r->has_head || r->phase == KP_PAGES)
		unreachable(r, why);
	else if (r->phase == KP_STREAM)
		leave_stream(r, "it does not say when all was sent");
	else
		again(r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kp_reflector *r = arg;

	(void)fd;
	(void)what;
	if (r->restart) {
		r->restart = false;
		drop_call(r);
		relist(r);
	}
	if (!r->call)
		begin(r);
	else if (kp_now_ms() >= deadline(r))
		overdue(r);
	else
		arm(r);
	kp_kube_after_round(r->s);	/* it may be that nothing waits for this collection any more */
}

/* --- the outside --- */

struct kp_reflector *kp_reflector_new(struct kp_kube_source *s, struct event_base *base, const struct kp_collection *what,
				      const char *node_name)
{
	KP_AUTO(kp_freep) char *escaped = kp_http_escape(node_name);
	struct kp_reflector *r = kp_calloc(1, sizeof(*r));

	r->s = s;
	r->what = what;
	r->node_name = node_name;
	r->selector = what->is_own_node ? kp_asprintf("%s%s", what->selector, escaped) : kp_strdup(what->selector);
	r->known = kp_known_new();
	r->timer = evtimer_new(base, on_timer, r);
	again(r);
	return r;
}

struct kp_reflector *kp_reflector_free(struct kp_reflector *r)
{
	if (!r)
		return NULL;
	drop_call(r);
	event_free(r->timer);
	kp_known_free(r->known);
	free(r->selector);
	free(r->version);
	free(r->list_version);
	free(r->next);
	free(r);
	return NULL;
}

bool kp_reflector_has_listed(const struct kp_reflector *r)
{
	return r->synced;
}

bool kp_reflector_is_settled(const struct kp_reflector *r)
{
	return r->synced || r->unavailable;
}

void kp_reflector_note_history(struct kp_reflector *r)
{
	r->history = r->version ? kp_version_number(r->version) : 0;
}

void kp_reflector_wake(struct kp_reflector *r)
{
	if (r->is_cut_off && !r->call)
		event_active(r->timer, EV_TIMEOUT, 0);
}

/* This comes from another collection's answer, where no call may be ended: so later. */
void kp_reflector_check_history(struct kp_reflector *r, uint64_t version)
{
	if (version >= r->history || r->counts_apart)
		return;
	r->restart = true;
	r->doubted = r->history;
	event_active(r->timer, EV_TIMEOUT, 0);
}

void kp_reflector_status(const struct kp_reflector *r, struct kp_source_status *ret)
{
	struct kp_source_row *row = kp_source_status_add(ret, r->what->name);

	row->n_objects = kp_known_len(r->known);
	row->live = r->call && r->has_head && r->phase == KP_WATCH;
	row->absent = r->unavailable;
	row->heard_ns = r->event_ms * 1000000;
	if (r->error[0])
		row->problem = kp_strdup(r->error);
	else if (!kp_reflector_is_settled(r))
		row->problem = kp_strdup("not read yet");
}
