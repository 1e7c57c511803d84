#include <stdio.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/commands.h"

static const struct {
	const char *name, *help;
	int (*fn)(int argc, char **argv);
} commands[] = {
	{ "run",	  "the agent: programs the Services of this node and answers health probes", kp_cmd_run },
	{ "status",	  "a running agent: what is in the kernel, what waits, what is wrong", kp_cmd_status },
	{ "drain",	  "let load balancers take the node out, and back in", kp_cmd_drain },
	{ "state",	  "what the node says of itself: print it, or set it", kp_cmd_state },
	{ "probes",	  "a running agent: who probes this node, how often, and what it is told", kp_cmd_probes },
	{ "render",	  "the rules for given objects as text of nft or iptables; no privileges, no cluster", kp_cmd_render },
	{ "check-config", "read a KubeProxyConfiguration and name every problem", kp_cmd_check_config },
	{ "cleanup",	  "remove our rules, or a kube-proxy's, without cutting connections", kp_cmd_cleanup },
	{ "version",	  "print the version", kp_cmd_version },
};

static int usage(FILE *to)
{
	fprintf(to, "usage: proxylet COMMAND [--help] ...\n");
	for (size_t i = 0; i < KP_N(commands); i++)
		fprintf(to, "  %-13s %s\n", commands[i].name, commands[i].help);
	return to == stderr ? 2 : 0;
}

int main(int argc, char **argv)
{
	const char *self = strrchr(argv[0], '/');

	/* An existing kube-proxy DaemonSet works after swapping its image. */
	if (strcmp(self ? self + 1 : argv[0], "kube-proxy") == 0)
		return kp_cmd_run(argc, argv);
	if (argc < 2)
		return usage(stderr);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return usage(stdout);
	if (strcmp(argv[1], "--version") == 0)
		return kp_cmd_version(1, argv + 1);
	for (size_t i = 0; i < KP_N(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].fn(argc - 1, argv + 1);
	fprintf(stderr, "proxylet: unknown command \"%s\"\n", argv[1]);
	return usage(stderr);
}
