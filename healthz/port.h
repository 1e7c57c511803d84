#ifndef HZ_PORT_H
#define HZ_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "healthz/stats.h"

/* What happens with a PROXY protocol header at the start of a connection (health-and-probes B.7). */
enum hz_proxy_mode {
	HZ_PROXY_OPTIONAL,	/* read and skipped if there is one */
	HZ_PROXY_REQUIRE,	/* a connection without one is reset */
	HZ_PROXY_FORBID,	/* a connection with one is reset */
	HZ_PROXY_OFF,		/* its bytes are HTTP, and bad HTTP */
};

/*
 * What answers at a TCP port: the node, or one Service. Connections hold a reference,
 * so that they still know what they were opened for after the listener is gone. Of one thread, as they are.
 */
struct hz_port {
	int refs;
	bool is_service;
	char *ns, *name;	/* of the Service; else "" and the listener's name */
	char *label;		/* "svc/NS/NAME"; else the listener's name */
	uint16_t number;
	enum hz_proxy_mode proxy;	/* of new connections */
	unsigned n_open;	/* connections */
	struct hz_stats stats;
};

struct hz_port *hz_port_new_node(const char *name, uint16_t number, enum hz_proxy_mode proxy);
struct hz_port *hz_port_new_service(const char *ns, const char *name, uint16_t number, enum hz_proxy_mode proxy);
struct hz_port *hz_port_ref(struct hz_port *p);
struct hz_port *hz_port_unref(struct hz_port *p);	/* returns NULL */

#endif
