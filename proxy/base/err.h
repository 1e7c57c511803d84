#ifndef KP_BASE_ERR_H
#define KP_BASE_ERR_H

/*
 * Every function that can fail returns 0 or a negative errno. A function whose
 * caller has to tell a human takes a struct kp_err as its last parameter and
 * leaves there what it was doing when it failed. Callers add their own half of
 * the sentence with kp_err_wrap(); only the outermost caller logs.
 */
struct kp_err {
	int code;
	char msg[512];
};

/* Both return the code, so that "return kp_err_set(...)" is the usual form. err may be NULL. */
int kp_err_set(struct kp_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Puts "fmt: " in front of what err already says. */
int kp_err_wrap(struct kp_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
