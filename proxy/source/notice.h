#ifndef KP_SOURCE_NOTICE_H
#define KP_SOURCE_NOTICE_H

#include <stdbool.h>

/*
 * What people shall find with "kubectl describe": an event about one object, as kube-proxy
 * tells them (kube-proxy-behaviour 10.3). Borrowed by whoever is told.
 */
struct kp_notice {
	bool warning;
	const char *kind;		/* "Node", "Service" */
	const char *ns, *name;		/* ns: "" for a Node */
	const char *reason, *action;	/* "FailedToStartServiceHealthcheck", "Listen" */
	const char *text;
};

#endif
