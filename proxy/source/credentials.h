#ifndef KP_SOURCE_CREDENTIALS_H
#define KP_SOURCE_CREDENTIALS_H

#include <stdbool.h>

#include "proxy/source/httpc.h"
#include "proxy/source/kubeconfig.h"

/*
 * The identity of a kubeconfig as it is now: tokens and certificates that lie in
 * files are read again when the files change, as the kubelet and certificate
 * rotation replace them while we run.
 */
struct kp_credentials;

/* Borrows k. Reads all files: -errno when one is not readable. */
int kp_credentials_new(struct kp_credentials **ret, const struct kp_kubeconfig *k, struct kp_err *err);
struct kp_credentials *kp_credentials_free(struct kp_credentials *c);

/*
 * Before each request. force: read the files even if they look the same (after a 401).
 * *ret_changed: something is different now. 0, or -errno with err when a file cannot be
 * read: its last content stays in use, and other files are read all the same.
 */
int kp_credentials_refresh(struct kp_credentials *c, bool force, bool *ret_changed, struct kp_err *err);
/* Valid until the next refresh. */
const struct kp_http_identity *kp_credentials_identity(const struct kp_credentials *c);

#endif
