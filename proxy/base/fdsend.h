#ifndef KP_BASE_FDSEND_H
#define KP_BASE_FDSEND_H

#include <stddef.h>
#include <sys/types.h>

/*
 * sendmsg(2) with MSG_NOSIGNAL and these flags, over a UNIX socket, and with the text a copy of
 * a descriptor (-1: none), which the receiver gets no later than the first byte (unix(7)).
 */
ssize_t kp_fdsend(int sock, const char *text, size_t len, int fd, int flags);

#endif
