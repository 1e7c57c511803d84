#include "proxy/base/netadmin.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"

int kp_netadmin_prove(struct kp_err *err)
{
	KP_AUTO(kp_closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;
	int out = fd;

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) < 0)
		return kp_err_set(err, -errno, "prove the right to administer the network: %s", strerror(errno));
	fd = -1;
	return out;
}

static bool is_of_our_namespace(int fd)
{
	KP_AUTO(kp_closep) int theirs = ioctl(fd, SIOCGSKNS);
	struct stat a, b;

	return theirs >= 0 && fstat(theirs, &a) == 0 && stat("/proc/self/ns/net", &b) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool kp_netadmin_is_proof(int fd)
{
	int protocol = 0, repair = 0;
	socklen_t len = sizeof(int);

	return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 && protocol == IPPROTO_TCP &&
	       getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &repair, &len) == 0 && repair == 1 && is_of_our_namespace(fd);
}
