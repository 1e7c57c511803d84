#ifndef KP_SOURCE_WEBPROXY_H
#define KP_SOURCE_WEBPROXY_H

/*
 * Which proxy a request goes through, as Go's clients decide and libcurl alone would not:
 * the kubeconfig's for everything, else HTTPS_PROXY or HTTP_PROXY by the URL's scheme, in
 * capitals or not, but never for this host itself; NO_PROXY counts for those of the
 * environment only; ALL_PROXY never; a SOCKS proxy resolves names.
 */
struct kp_webproxy {
	char *url;		/* "": none. Owned */
	const char *except;	/* names, suffixes and CIDRs as libcurl takes them; "": none */
};

/* given: the kubeconfig's, NULL: none. Free ret->url. */
void kp_webproxy_choose(const char *url, const char *given, struct kp_webproxy *ret);

#endif
