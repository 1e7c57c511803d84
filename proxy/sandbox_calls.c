#include "proxy/sandbox_impl.h"

/*
 * Taken from what the tests make the agent do (strace -f -c), completed by the forms the
 * same call has on other machines and in other versions of the C library. socket and clone
 * are not here: they depend on their arguments.
 */
#define GROUP(...) (const char *const[]){ __VA_ARGS__, NULL }

const struct kp_call_group kp_call_groups[] = {
	/* memory */
	{ KP_CALLS_ALWAYS, GROUP("brk", "madvise", "mmap", "mmap2", "mprotect", "mremap", "munmap") },
	/* threads and signals */
	{ KP_CALLS_ALWAYS, GROUP(
		"exit", "exit_group", "futex", "futex_time64", "futex_waitv", "get_robust_list", "getcpu", "getpid",
		"getppid", "gettid", "membarrier", "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending",
		"rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "sched_getaffinity",
		"sched_setaffinity", "sched_yield", "set_robust_list", "set_tid_address", "sigaltstack", "sigreturn",
		"tgkill", "tkill") },
	/* time */
	{ KP_CALLS_ALWAYS, GROUP(
		"clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep",
		"clock_nanosleep_time64", "gettimeofday", "nanosleep", "time", "timerfd_create",
		"timerfd_gettime", "timerfd_settime", "timerfd_settime64") },
	/* the event loop */
	{ KP_CALLS_ALWAYS, GROUP(
		"epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait",
		"eventfd", "eventfd2", "inotify_add_watch", "inotify_init", "inotify_init1",
		"inotify_rm_watch", "pipe", "pipe2", "poll", "ppoll", "ppoll_time64", "pselect6",
		"pselect6_time64", "select", "_newselect") },
	/* descriptors */
	{ KP_CALLS_ALWAYS, GROUP(
		"close", "close_range", "dup", "dup2", "dup3", "fcntl", "fcntl64", "ioctl", "lseek", "_llseek",
		"pread64", "pwrite64", "read", "readv", "write", "writev") },
	/* files: objects, configuration, credentials, /proc; the status socket and its lock */
	{ KP_CALLS_ALWAYS, GROUP(
		"access", "faccessat", "faccessat2", "fadvise64", "fchmod", "fdatasync", "flock", "fstat",
		"fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "getcwd",
		"getdents", "getdents64", "lstat", "lstat64", "mkdir", "mkdirat", "newfstatat", "open",
		"openat", "readlink", "readlinkat", "rename", "renameat", "renameat2", "stat", "stat64",
		"statfs", "statfs64", "statx", "umask", "unlink", "unlinkat") },
	/* sockets: netlink, the API server, probers, the status socket */
	{ KP_CALLS_ALWAYS, GROUP(
		"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
		"recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg",
		"sendto", "setsockopt", "shutdown", "socketpair") },
	/* what the process may ask about itself and the machine */
	{ KP_CALLS_ALWAYS, GROUP(
		"capget", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getrandom",
		"getrlimit", "getrusage", "getuid", "getuid32", "prctl", "prlimit64", "setrlimit", "sysinfo",
		"ugetrlimit", "uname") },
	/* iptables-restore: xtables.lock, its extensions and what they ask for */
	{ KP_CALLS_PROGRAMS, GROUP(
		"alarm", "arch_prctl", "capset", "chdir", "execve", "execveat", "fork", "getgroups",
		"getgroups32", "getpgrp", "getpgid", "getresgid", "getresuid", "getsid", "getitimer",
		"getxattr", "kill", "pidfd_open", "pidfd_send_signal", "set_thread_area", "setitimer",
		"setpgid", "setsid", "vfork", "wait4", "waitid", "waitpid") },
	/* of which the leak check at the end watches its own process */
	{ KP_CALLS_SANITIZER, GROUP(
		"arch_prctl", "mincore", "personality", "pipe2", "process_vm_readv", "ptrace", "wait4",
		"waitpid") },
	{ 0, NULL }
};
