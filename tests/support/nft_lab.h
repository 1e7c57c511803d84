#ifndef TESTS_NFT_LAB_H
#define TESTS_NFT_LAB_H

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/mem.h"

/*
 * What nft says of the kernel, and a kernel that is another or refuses when told so: calls
 * of the C library are replaced here.
 */

/* Run nft with a script (text) or, text NULL, with arguments; output to *out if wanted. Returns the exit status. */
static inline int nft(const char *text, const char *list, struct kp_buf *out)
{
	int in[2], back[2], status;
	ssize_t got;
	pid_t pid;

	ck_assert(pipe(in) == 0 && pipe(back) == 0);
	pid = fork();
	if (pid == 0) {
		dup2(in[0], 0);
		dup2(back[1], 1);
		close(in[1]);
		close(back[0]);
		if (text)
			execlp("nft", "nft", "-f", "-", (char *)NULL);
		else
			execlp("nft", "nft", "list", list, "ip", "proxylet", (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(back[1]);
	if (text)
		ck_assert_int_eq(write(in[1], text, strlen(text)), (ssize_t)strlen(text));
	close(in[1]);
	while ((got = read(back[0], kp_buf_reserve(out, 65536), 65535)) > 0)
		out->len += (size_t)got;
	out->data[out->len] = '\0';
	close(back[0]);
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static inline void script(const char *text)
{
	struct kp_buf out = { 0 };

	ck_assert_msg(nft(text, NULL, &out) == 0, "nft: %s", text);
	kp_buf_release(&out);
}

static inline char *list_table(void)
{
	struct kp_buf out = { 0 };

	nft(NULL, "table", &out);
	return out.data;
}

static inline void assert_lists(const char *needle, bool wanted)
{
	KP_AUTO(kp_freep) char *text = list_table();

	ck_assert_msg((strstr(text, needle) != NULL) == wanted, "%s \"%s\" in:\n%.1000s", wanted ? "no" : "unexpected", needle, text);
}

static const char *release;	/* that the kernel claims to be; NULL: its own */

int uname(struct utsname *u)
{
	if (syscall(SYS_uname, u) < 0)
		return -1;
	if (release)
		snprintf(u->release, sizeof(u->release), "%s", release);
	return 0;
}

static bool no_second_table;	/* the kernel has no memory for it */
static const char *before_send;	/* a script that runs in front of the next transaction; NULL: none */

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	const char *text = before_send;

	before_send = NULL;
	if (text)
		script(text);
	for (size_t i = 0; i < m->msg_iovlen && no_second_table; i++) {
		if (memmem(m->msg_iov[i].iov_base, m->msg_iov[i].iov_len, "proxylet-next", 13)) {
			errno = ENOMEM;
			return -1;
		}
	}
	return syscall(SYS_sendmsg, fd, m, flags);
}

static _Thread_local bool no_sockets;	/* for this thread, not for that of conntrack */
static unsigned sockets_refused;

int socket(int domain, int type, int protocol)
{
	if (!no_sockets)
		return (int)syscall(SYS_socket, domain, type, protocol);
	sockets_refused++;
	errno = EMFILE;
	return -1;
}

#endif
