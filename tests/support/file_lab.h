#ifndef TESTS_FILE_LAB_H
#define TESTS_FILE_LAB_H

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/source/file.h"

/*
 * A folder of its own, a file source on a real event loop, and a sink that writes down
 * what it was told: "+web=10.0.0.1 -old | " (| is a flush, * is synced). Services with
 * their clusterIP, slices with their first endpoint, all of namespace default. What is
 * logged is kept in a file.
 */
struct lab {
	char dir[64];
	struct event_base *base;
	struct kp_file_source *src;
	struct kp_buf journal;
	struct kp_map *state;		/* name -> address, as the sink knows it */
	unsigned n_synced, n_passes;
	uint64_t last_ns;		/* when the sink was told something */
	int log_fd, old_stderr;
};

#define LAB_DEADLINE_S 20	/* nothing here takes that long, unless it never happens */

static inline const char *lab_short(const char *key)
{
	ck_assert_msg(strncmp(key, "default/", 8) == 0, "unexpected key %s", key);
	return key + 8;
}

static inline void lab_upsert(void *arg, struct kp_object *o)
{
	struct lab *l = arg;
	char ip[KP_ADDR_STRLEN] = "-";

	l->last_ns = kp_now_ns();
	if (o->kind == KP_KIND_SERVICE && o->service->has_ip[KP_IPV4])
		kp_addr_str(&o->service->cluster_ip[KP_IPV4], ip);
	if (o->kind == KP_KIND_SLICE && o->slice->n_endpoints)
		kp_addr_str(&o->slice->endpoints[0].addr, ip);
	kp_buf_printf(&l->journal, "+%s=%s ", lab_short(o->key), ip);
	kp_map_puts(l->state, lab_short(o->key), kp_strdup(ip));
	kp_object_release(o);
}

static inline void lab_remove(void *arg, enum kp_kind kind, const char *key)
{
	struct lab *l = arg;

	(void)kind;
	l->last_ns = kp_now_ns();
	kp_buf_printf(&l->journal, "-%s ", lab_short(key));
	ck_assert_msg(kp_map_dels(l->state, lab_short(key)), "%s was removed but not there", key);
}

static inline void lab_synced(void *arg)
{
	struct lab *l = arg;

	l->n_synced++;
	kp_buf_puts(&l->journal, "* ");
}

static inline void lab_flush(void *arg)
{
	kp_buf_puts(&((struct lab *)arg)->journal, "| ");
}

static inline struct kp_sink lab_sink(struct lab *l)
{
	return (struct kp_sink){ lab_upsert, lab_remove, lab_synced, lab_flush, l };
}

static inline void lab_init(struct lab *l)
{
	*l = (struct lab){ .dir = "/tmp/pxl-file-XXXXXX" };
	ck_assert_ptr_nonnull(mkdtemp(l->dir));
	l->base = event_base_new();
	l->state = kp_map_new(free);
	l->old_stderr = dup(STDERR_FILENO);
	l->log_fd = open("/tmp", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
	ck_assert_int_ge(l->log_fd, 0);
	dup2(l->log_fd, STDERR_FILENO);
}

static inline int lab_unlink(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static inline void lab_release(struct lab *l)
{
	dup2(l->old_stderr, STDERR_FILENO);
	close(l->old_stderr);
	close(l->log_fd);
	kp_file_source_free(l->src);
	event_base_free(l->base);
	kp_map_free(l->state);
	kp_buf_release(&l->journal);
	nftw(l->dir, lab_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path below the lab's folder; good until the fourth call after. */
static inline const char *lab_path(const struct lab *l, const char *name)
{
	static char paths[4][512];
	static unsigned turn;

	snprintf(paths[++turn % 4], sizeof(paths[0]), "%s/%s", l->dir, name);
	return paths[turn % 4];
}

/* Writes in place, as an editor without manners does. */
static inline void lab_write_bytes(struct lab *l, const char *name, const char *text, size_t len)
{
	int fd = open(lab_path(l, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	close(fd);
}

static inline void lab_write(struct lab *l, const char *name, const char *text)
{
	lab_write_bytes(l, name, text, strlen(text));
}

/* Writes beside it and renames. */
static inline void lab_replace(struct lab *l, const char *name, const char *text)
{
	lab_write(l, ".new", text);
	ck_assert_int_eq(rename(lab_path(l, ".new"), lab_path(l, name)), 0);
}

/* A Service as a YAML document; good until the eighth call after. */
static inline const char *svc(const char *name, const char *ip)
{
	static char texts[8][512];
	static unsigned turn;

	snprintf(texts[++turn % 8], sizeof(texts[0]),
		 "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: %s\nspec:\n  clusterIP: %s\n"
		 "  ports:\n  - port: 80\n", name, ip);
	return texts[turn % 8];
}

/* The same for an EndpointSlice of one endpoint. */
static inline const char *slice(const char *name, const char *ip)
{
	static char texts[8][512];
	static unsigned turn;

	snprintf(texts[++turn % 8], sizeof(texts[0]),
		 "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: %s\n"
		 "  labels: {kubernetes.io/service-name: web}\naddressType: IPv4\nports: [{port: 80}]\n"
		 "endpoints:\n- addresses: [%s]\n", name, ip);
	return texts[turn % 8];
}

/* Two documents, or more; good until the fourth call after. */
static inline const char *both(const char *a, const char *b)
{
	static char texts[4][4096];
	static unsigned turn;

	snprintf(texts[++turn % 4], sizeof(texts[0]), "%s%s", a, b);
	return texts[turn % 4];
}

/* "a=10.0.0.1 b=10.0.0.2 ": what the sink has now, sorted. Caller releases. */
static inline struct kp_buf lab_state(const struct lab *l)
{
	const char **names = kp_map_sorted_keys(l->state);
	struct kp_buf b = { 0 };

	kp_buf_reserve(&b, 1)[0] = '\0';
	for (size_t i = 0; i < kp_map_len(l->state); i++)
		kp_buf_printf(&b, "%s=%s ", names[i], (char *)kp_map_gets(l->state, names[i]));
	free(names);
	return b;
}

static inline bool lab_state_is(const struct lab *l, const char *want)
{
	struct kp_buf b = lab_state(l);
	bool same = strcmp(b.data, want) == 0;

	kp_buf_release(&b);
	return same;
}

/* Turns the loop until the state is this, synced and flushed; fails after the deadline. */
static inline void lab_await(struct lab *l, const char *want)
{
	uint64_t end = kp_now_ms() + LAB_DEADLINE_S * 1000;
	struct timeval soon = { .tv_usec = 20000 };
	struct kp_buf b;

	while (!(l->n_synced && l->journal.len >= 2 && strcmp(l->journal.data + l->journal.len - 2, "| ") == 0 &&
		 lab_state_is(l, want))) {
		if (kp_now_ms() > end) {
			b = lab_state(l);
			ck_abort_msg("wanted \"%s\", have \"%s\" (%s)", want, b.data, l->journal.data);
		}
		event_base_loopexit(l->base, &soon);	/* only how long one turn may wait */
		event_base_loop(l->base, EVLOOP_ONCE);
	}
}

/*
 * The source sees this after everything that was done before, so what has no effect
 * until now has none. Needs a folder as (one) source.
 */
static inline void lab_pass(struct lab *l)
{
	struct kp_buf want;
	char ip[32];

	if (kp_map_gets(l->state, "zz-pass"))
		kp_map_dels(l->state, "zz-pass");
	want = lab_state(l);
	l->n_passes++;
	snprintf(ip, sizeof(ip), "10.99.%u.%u", l->n_passes / 250, l->n_passes % 250);
	kp_buf_printf(&want, "zz-pass=%s ", ip);
	lab_replace(l, "zz-pass.yaml", svc("zz-pass", ip));
	lab_await(l, want.data);
	kp_buf_release(&want);
}

/* Starts on these paths, NULL at the end; without any: on the lab's folder. */
static inline void lab_start(struct lab *l, const char *first, const char *second)
{
	const char *paths[] = { first ? first : l->dir, second };
	struct kp_sink sink = lab_sink(l);
	struct kp_err err = { 0 };
	int r = kp_file_source_new(&l->src, l->base, paths, second ? 2 : 1, &sink, &err);

	ck_assert_msg(r == 0, "%s", err.msg);
}

static inline void lab_forget_journal(struct lab *l)
{
	l->journal.len = 0;
	kp_buf_reserve(&l->journal, 1)[0] = '\0';
}

/* Everything logged so far. Caller frees. */
static inline char *lab_log(const struct lab *l)
{
	off_t len = lseek(l->log_fd, 0, SEEK_END);
	char *text = kp_calloc((size_t)len + 1, 1);

	ck_assert_int_eq(pread(l->log_fd, text, (size_t)len, 0), len);
	return text;
}

/* How often the text was logged. */
static inline unsigned lab_logged(const struct lab *l, const char *part)
{
	char *all = lab_log(l);
	unsigned n = 0;

	for (const char *p = all; (p = strstr(p, part)) != NULL; p += strlen(part))
		n++;
	free(all);
	return n;
}

#define lab_assert_logged(l, part, times) do { \
		unsigned n_ = lab_logged(l, part); \
		char *all_ = lab_log(l); \
		ck_assert_msg(n_ == (times), "\"%s\" was logged %u times: %s", part, n_, all_); \
		free(all_); \
	} while (0)

#endif
