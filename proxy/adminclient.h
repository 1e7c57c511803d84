#ifndef KP_ADMINCLIENT_H
#define KP_ADMINCLIENT_H

#include <jansson.h>

struct kp_err;

/* The other side of the agent's UNIX socket, for commands. */

/*
 * One request, "GET /status". The value of the answer, the caller's; NULL with err: -EPERM the
 * agent refused, else it could not be asked (-ENOENT, -ECONNREFUSED: nobody listens; the message says so).
 */
json_t *kp_admin_ask(const char *socket, const char *method, const char *path, struct kp_err *err);
/* To standard output, as JSON that machines and people can read. */
void kp_admin_print(const json_t *value);

#endif
