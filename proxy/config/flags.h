#ifndef KP_CONFIG_FLAGS_H
#define KP_CONFIG_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kp_err;
struct kp_buf;

/*
 * Command lines by table, in the form kube-proxy's manifests use: --name value,
 * --name=value, --bool, --bool=false, -v 4, -v=4, -v4; "--" ends the flags.
 * Each subcommand has a table and a struct that the offsets lead into.
 */
enum kp_flag_kind {
	KP_FLAG_BOOL,		/* bool */
	KP_FLAG_INT,		/* int64_t; what the caller put there stays when the flag is not given */
	KP_FLAG_STRING,		/* const char *, borrowed from argv; the last one counts */
	KP_FLAG_STRINGS,	/* struct kp_flag_list; may be repeated */
	KP_FLAG_NOT_YET,	/* known from kube-proxy, refused by saying so; not in the help */
};

struct kp_flag {
	const char *name;	/* NULL ends the table */
	char shorthand;		/* 0: none */
	enum kp_flag_kind kind;
	size_t offset;
	const char *arg;	/* "FILE", in the help; not for bool */
	const char *const *choices;	/* of a string, NULL-terminated; NULL: any */
	const char *help;
};

/* Zero-initialise. The strings are borrowed from argv. */
struct kp_flag_list {
	const char **items;
	size_t n, cap;
};
void kp_flag_list_release(struct kp_flag_list *l);

/*
 * argv[0] is the name of the command. Arguments that are no flags go to args; with
 * args NULL they are an error. 0 or -EINVAL with err saying what to change.
 */
int kp_flags_parse(const struct kp_flag *table, int argc, char *const *argv, void *into,
		   struct kp_flag_list *args, struct kp_err *err);

/* One aligned line for each flag. */
void kp_flags_help(const struct kp_flag *table, struct kp_buf *out);

#endif
