#include "proxy/process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proxy/base/clock.h"

/* Fields of proc(5) /proc/pid/stat behind the name, which may hold blanks and parentheses; state is the first. */
enum { STAT_UTIME = 11, STAT_STIME = 12, STAT_START = 19, STAT_VSIZE = 20, STAT_RSS = 21, N_STAT };

static bool read_stat(double field[N_STAT])
{
	FILE *f = fopen("/proc/self/stat", "re");
	char line[1024], *rest = NULL, *p;

	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	(void)fclose(f);	/* only read from */
	p = strrchr(line, ')');
	if (!p)
		return false;
	p = strtok_r(p + 1, " ", &rest);
	for (int i = 0; i < N_STAT; i++, p = strtok_r(NULL, " ", &rest)) {
		if (!p)
			return false;
		field[i] = strtod(p, NULL);
	}
	return true;
}

static double count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	double n = 0;

	if (!d)
		return 0;
	for (const struct dirent *e = readdir(d); e; e = readdir(d))
		n += e->d_name[0] != '.';
	closedir(d);
	return n - 1;	/* the one of the folder itself */
}

static double max_fds(void)
{
	struct rlimit l;

	return getrlimit(RLIMIT_NOFILE, &l) == 0 ? (double)l.rlim_cur : 0;
}

/* The kernel tells starts as time since boot. */
static double boot_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (double)kp_wall_ns() / 1e9 - ((double)t.tv_sec + (double)t.tv_nsec / 1e9);
}

bool kp_process_read(struct kp_process *ret)
{
	double stat[N_STAT], ticks = (double)sysconf(_SC_CLK_TCK);

	*ret = (struct kp_process){ 0 };
	if (!read_stat(stat))
		return false;
	*ret = (struct kp_process){
		.cpu_seconds = (stat[STAT_UTIME] + stat[STAT_STIME]) / ticks,
		.open_fds = count_fds(),
		.max_fds = max_fds(),
		.resident_bytes = stat[STAT_RSS] * (double)sysconf(_SC_PAGESIZE),
		.virtual_bytes = stat[STAT_VSIZE],
		.start_seconds = boot_seconds() + stat[STAT_START] / ticks,
	};
	return true;
}
