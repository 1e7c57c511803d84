#ifndef KP_CONFIG_FLAGS_H
#define KP_CONFIG_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct kp_err;
struct kp_buf;

/*
 * Command lines by table, in the form kube-proxy's manifests use: --name value,
 * --name=value, --bool, --bool=false, -v 4, -v=4, -v4; "--" ends the flags. "_" in
 * a name is "-".
 * Each subcommand has a table and a struct that the offsets lead into.
 */
enum kp_flag_kind {
	KP_FLAG_BOOL,		/* bool */
	KP_FLAG_INT,		/* int64_t; what the caller put there stays when the flag is not given */
	KP_FLAG_STRING,		/* const char *, borrowed from argv; the last one counts */
	KP_FLAG_STRINGS,	/* struct kp_flag_list; may be repeated */
	KP_FLAG_FIELD,		/* struct kp_flag_list: a field of the configuration, as text; see kp_flag_given */
	KP_FLAG_SWITCH,		/* the same, but true or false, and true when there is no value */
};

struct kp_flag {
	const char *name;	/* NULL ends the table */
	char shorthand;		/* 0: none */
	enum kp_flag_kind kind;
	size_t offset;
	const char *arg;	/* "FILE", in the help; not for bool */
	const char *const *choices;	/* of a string or field, NULL-terminated; NULL: any */
	const char *help;	/* NULL: deprecated, not in the help */
	/* FIELD, SWITCH */
	const char *field;	/* path in the configuration */
	bool beside_file;	/* counts also when there is a file */
	bool is_list;		/* all of them count, not the last */
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

/*
 * The value of a field flag, all of a list with commas; NULL: not given. given is where
 * the flags of these kinds lead. Caller frees.
 */
char *kp_flag_given(const struct kp_flag *f, const struct kp_flag_list *given);

/* One aligned line for each flag. */
void kp_flags_help(const struct kp_flag *table, struct kp_buf *out);

/*
 * The help of a subcommand: what is wrong with the call (problem, or NULL), "usage: proxylet
 * SYNOPSIS", whose first word is the command, the flags, and more. Returns the exit status: 2 with a problem, else 0.
 */
int kp_flags_usage(FILE *to, const struct kp_flag *table, const char *synopsis, const char *more, const char *problem);

#endif
