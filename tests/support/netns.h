#ifndef TESTS_NETNS_H
#define TESTS_NETNS_H

#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Runs the suite of a program whose tests make network namespaces. Whether there can be any is asked in
 * front of it: a fixture that ends the test's process is a failure to libcheck. prepare, or NULL: called in
 * the namespace that tests without one of their own have in common. -> exit status, 77: skipped
 */
static inline int run_in_netns(Suite *s, void (*prepare)(void))
{
	SRunner *r;
	int failed;

	if (unshare(CLONE_NEWNET) == -1) {
		printf("SKIP %s: no network namespaces here: %s\n", program_invocation_short_name, strerror(errno));
		return 77;
	}
	if (prepare)
		prepare();
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
