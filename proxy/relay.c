#include "proxy/relay.h"

#include <signal.h>
#include <string.h>

#include "healthz/relay.h"
#include "healthz/server.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/config/config.h"
#include "proxy/host.h"
#include "proxy/sandbox.h"
#include "proxy/setup.h"

int kp_relay_run(const struct kp_config *cfg, struct kp_err *err)
{
	KP_AUTO(kp_freep) struct hz_policy *policy = kp_setup_health_policy(cfg);
	struct hz_listen listen = { .name = "shared", .proxy = kp_setup_shared_proxy(cfg) };
	struct hz_relay_target target;
	struct hz_options opt = { .listen = &listen, .n_listen = 1, .relay = &target, .hard_fail = cfg->bind_address_hard_fail,
				  .policy = *policy };
	struct hz_server *server = NULL;
	sigset_t ends;
	int r, signo;

	/* Both are there: kp_config_validate. */
	kp_hostport_parse(cfg->relay_target, &target.addr, &target.port);
	kp_hostport_parse(cfg->shared_healthz_bind_address, &listen.addr, &listen.port);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	(void)signal(SIGHUP, SIG_IGN);	/* there is nothing to read again */
	kp_host_raise_descriptors();
	r = kp_sandbox_enter(cfg, KP_MODE_UNSET, err);
	if (r == 0)
		r = hz_server_start(&server, &opt, err);
	if (r < 0)
		return r;
	kp_info("relay", "proxylet %s relays port %u to %s; no rules are programmed", KP_VERSION, listen.port, cfg->relay_target);
	sigwait(&ends, &signo);
	kp_info("relay", "%s: ending", strsignal(signo));
	hz_server_stop(server);
	return 0;
}
