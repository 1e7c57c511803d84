#ifndef KP_SOURCE_KUBECONFIG_H
#define KP_SOURCE_KUBECONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/cleanup.h"

struct kp_buf;
struct kp_err;

/* Where a secret or certificate comes from: a file, that may change, or bytes. Both NULL: there is none. */
struct kp_kube_secret {
	char *file;	/* absolute, or relative to the working folder */
	char *data;	/* NUL-terminated after len bytes */
	size_t len;
};

/* How to reach the API server and who we are there. Strings are owned; NULL: not set. */
struct kp_kubeconfig {
	char *server;			/* "https://host:port/prefix" without a slash at the end */
	char *tls_server_name, *proxy_url;
	bool insecure, no_compression;
	struct kp_kube_secret ca, cert, key;	/* PEM */
	struct kp_kube_secret token;
	char *username, *password;
};

/*
 * As kube-proxy: the current context of the file at path, with master in place of its
 * server unless master is "". Relative paths in it are relative to the file. With
 * neither, the service account of the pod we run in: environment KUBERNETES_SERVICE_HOST
 * and _PORT, token and ca.crt below /var/run/secrets/kubernetes.io/serviceaccount.
 * exec, auth-provider and impersonation are refused. 0 or -errno with err.
 */
int kp_kubeconfig_load(const char *path, const char *master, struct kp_kubeconfig **ret, struct kp_err *err);
/* The text of such a file; dir: where relative paths begin. */
int kp_kubeconfig_parse(const char *text, size_t len, const char *dir, const char *master,
			struct kp_kubeconfig **ret, struct kp_err *err);
/* dir: the service account's folder. */
int kp_kubeconfig_in_cluster(const char *dir, struct kp_kubeconfig **ret, struct kp_err *err);

/*
 * The address of a server in full: without a scheme it is https where there is anything
 * to do TLS with, else http. NULL: not an http address. Caller frees.
 */
char *kp_kubeconfig_server(const struct kp_kubeconfig *k, const char *address);

/* A whole file of at most 1 MiB, NUL-terminated after its end; for all that a kubeconfig is made of. */
int kp_kubeconfig_read_file(const char *path, struct kp_buf *ret, struct kp_err *err);

struct kp_kubeconfig *kp_kubeconfig_free(struct kp_kubeconfig *k);	/* NULL is fine; returns NULL */
KP_DEFINE_AUTO(struct kp_kubeconfig *, kp_kubeconfig_free)

#endif
