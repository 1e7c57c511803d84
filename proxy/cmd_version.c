#include "proxy/commands.h"

#include <stdio.h>

int kp_cmd_version(int argc, char **argv)
{
	(void)argv;
	if (argc > 1) {
		fprintf(stderr, "usage: proxylet version\n");
		return 2;
	}
	printf("proxylet %s\n", KP_VERSION);
	return 0;
}
