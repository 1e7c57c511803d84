#ifndef HZ_REQUEST_H
#define HZ_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#define HZ_REQ_LINE_MAX	2048	/* longer: 414 */
#define HZ_REQ_HEAD_MAX	8192	/* longer: 431 */
#define HZ_REQ_LINES_MAX 64	/* more header lines: 431 */

enum hz_req_verdict {
	HZ_REQ_MORE,	/* no complete request head yet */
	HZ_REQ_DONE,	/* head of ->len bytes; what follows belongs to the next request */
	HZ_REQ_ERROR,	/* answer with ->status and close */
};

struct hz_req {
	size_t len;
	int status;		/* HZ_REQ_ERROR: 400, 405, 414, 431 or 505; else 0 */
	int minor;		/* HTTP/1.minor; 1 if the version was not read */
	bool is_head;		/* HEAD: headers only */
	bool is_options;	/* "OPTIONS *" asks for the default path */
	bool is_post;
	bool keep_alive;	/* false whenever a body is announced: we never read one */
	/* Into the caller's buffer; all but path may be NULL, and on errors any. */
	const char *path, *query, *method, *user_agent, *host;
	size_t path_len, query_len, method_len, user_agent_len, host_len;
};

/* Pure and restartable: call again with the same bytes plus what arrived since. */
enum hz_req_verdict hz_req_parse(const char *buf, size_t len, struct hz_req *ret);

bool hz_req_is_path(const struct hz_req *req, const char *path);

#endif
