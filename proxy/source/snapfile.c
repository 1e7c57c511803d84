#include "proxy/source/snapfile.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/hash.h"
#include "proxy/base/mem.h"

#define MAGIC		"proxylet"
#define VERSION		2	/* raise it with every change of a table in pack.c */
#define HEAD_LEN	48
#define BOOT_ID		"/proc/sys/kernel/random/boot_id"
#define NEW_NAME	KP_SNAPFILE_NAME ".new"

enum { AT_VERSION = 8, AT_NAME_LEN = 12, AT_TIME = 16, AT_LEN = 24, AT_SUM = 32, AT_BOOT = 40 };

static uint64_t get64(const char *p)
{
	uint64_t n;

	memcpy(&n, p, sizeof(n));
	return le64toh(n);
}

static uint32_t get32(const char *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return le32toh(n);
}

static void set64(char *p, uint64_t n)
{
	n = htole64(n);
	memcpy(p, &n, sizeof(n));
}

static void set32(char *p, uint32_t n)
{
	n = htole32(n);
	memcpy(p, &n, sizeof(n));
}

static uint64_t checksum(const char *data, size_t len)
{
	return kp_hash(kp_hash(KP_HASH_INIT, data, AT_SUM), data + AT_BOOT, len - AT_BOOT);
}

uint64_t kp_snapfile_boot(void)
{
	KP_AUTO(kp_closep) int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	char id[64];
	ssize_t n = fd < 0 ? -1 : read(fd, id, sizeof(id));

	return n > 0 ? kp_hash(KP_HASH_INIT, id, (size_t)n) : 0;
}

void kp_snapfile_open(struct kp_buf *b, const char *node_name, uint64_t boot)
{
	char head[HEAD_LEN] = MAGIC;

	set32(head + AT_VERSION, VERSION);
	set32(head + AT_NAME_LEN, (uint32_t)strlen(node_name));
	set64(head + AT_BOOT, boot);
	kp_buf_add(b, head, sizeof(head));
	kp_buf_puts(b, node_name);
}

void kp_snapfile_close(struct kp_buf *b, uint64_t wall_ns)
{
	set64(b->data + AT_TIME, wall_ns);
	set64(b->data + AT_LEN, b->len - HEAD_LEN - get32(b->data + AT_NAME_LEN));
	set64(b->data + AT_SUM, checksum(b->data, b->len));
}

int kp_snapfile_check(const char *data, size_t len, const char *node_name, struct kp_snapfile_head *ret, struct kp_err *err)
{
	size_t rest, name_len;

	if (len < HEAD_LEN || memcmp(data, MAGIC, strlen(MAGIC)) != 0)
		return kp_err_set(err, -EBADMSG, "it is no snapshot, or cut off");
	if (get32(data + AT_VERSION) != VERSION)
		return kp_err_set(err, -EBADMSG, "it is of version %u, and this proxylet reads %d", get32(data + AT_VERSION), VERSION);
	rest = len - HEAD_LEN;
	name_len = get32(data + AT_NAME_LEN);
	if (name_len > rest || get64(data + AT_LEN) != rest - name_len)
		return kp_err_set(err, -EBADMSG, "it is cut off, or longer than it says");
	if (get64(data + AT_SUM) != checksum(data, len))
		return kp_err_set(err, -EBADMSG, "it is damaged: the checksum is another one");
	if (name_len != strlen(node_name) || memcmp(data + HEAD_LEN, node_name, name_len) != 0)
		return kp_err_set(err, -EBADMSG, "it is of another node, \"%.*s\"", (int)(name_len < 253 ? name_len : 253),
				  data + HEAD_LEN);
	*ret = (struct kp_snapfile_head){ get64(data + AT_TIME), get64(data + AT_BOOT), HEAD_LEN + name_len };
	return 0;
}

static int write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* What an earlier attempt left behind is no obstacle, and no other file is ever written into. */
static int write_new(int dir, const struct kp_buf *b)
{
	KP_AUTO(kp_closep) int fd = -1;

	if (unlinkat(dir, NEW_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(dir, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : write_all(fd, b->data, b->len);
}

int kp_snapfile_write(const char *folder, const struct kp_buf *b, struct kp_err *err)
{
	KP_AUTO(kp_closep) int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (b->len > KP_SNAPFILE_MAX)
		return kp_err_set(err, -EFBIG, "%zu bytes are over the limit of %zu", b->len, KP_SNAPFILE_MAX);
	/* One at a time: during a hand-over there are two agents, which would rename each other's half. */
	if (dir < 0 || flock(dir, LOCK_EX) < 0)
		return kp_err_set(err, -errno, "%s: %s", folder, strerror(errno));
	r = write_new(dir, b);
	if (r == 0 && renameat(dir, NEW_NAME, dir, KP_SNAPFILE_NAME) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(dir, NEW_NAME, 0);	/* on a full disk it takes the place it needs next time */
		return kp_err_set(err, r, "%s/%s: %s", folder, KP_SNAPFILE_NAME, strerror(-r));
	}
	/* Some file systems cannot do this for a folder; the file is whole either way. */
	(void)fsync(dir);
	return 0;
}

static int read_all(int fd, struct kp_buf *ret)
{
	struct stat st;
	ssize_t n = 1;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)KP_SNAPFILE_MAX)
		return -EFBIG;
	while (ret->len < (size_t)st.st_size && n > 0) {
		size_t want = (size_t)st.st_size - ret->len;

		n = read(fd, kp_buf_reserve(ret, want), want);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			return -errno;
		else
			ret->len += (size_t)n;
	}
	return 0;
}

int kp_snapfile_read(const char *folder, struct kp_buf *ret, struct kp_err *err)
{
	KP_AUTO(kp_freep) char *path = kp_asprintf("%s/%s", folder, KP_SNAPFILE_NAME);
	KP_AUTO(kp_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct kp_buf b = { 0 };
	int r = fd < 0 ? -errno : read_all(fd, &b);

	if (r < 0) {
		kp_buf_release(&b);
		return kp_err_set(err, r, "%s: %s", path, strerror(-r));
	}
	*ret = b;
	return 0;
}
