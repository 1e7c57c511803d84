#include "proxy/commands.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int kp_cmd_version(int argc, char **argv)
{
	if (argc > 1) {
		bool help = argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

		fprintf(help ? stdout : stderr, "usage: proxylet version\n");
		return help ? 0 : 2;
	}
	printf("proxylet %s\n", KP_VERSION);
	return 0;
}
