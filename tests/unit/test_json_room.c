#include "proxy/base/json_room.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"

static json_t *make(int i)
{
	json_t *v;

	kp_json_room_begin();
	v = json_pack("{s:[i,i,{s:i}], s:s}", "list", i, i + 1, "last", i + 2, "text", "some text that is longer than a word");
	kp_json_room_end();
	return v;
}

/* One of each, of many: kept whole, kept in part, thrown away at once. */
START_TEST(kept)
{
	json_t *whole[10], *part[10];

	for (int i = 0; i < 10000; i++) {
		json_t *v = make(i);

		if (i % 1000 == 0) {
			part[i / 1000] = json_incref(json_object_get(v, "list"));
			whole[i / 1000] = make(i);
		}
		json_decref(v);
	}
	for (int i = 0; i < 10; i++) {
		json_auto_t *v = make(1000 * i);

		ck_assert(json_equal(whole[i], v));
		ck_assert(json_equal(part[i], json_object_get(v, "list")));
		json_decref(whole[i]);
		json_decref(part[i]);
	}
}
END_TEST

/* Forgotten as a whole, beside one that is kept, and where a part came from the heap. */
START_TEST(forgotten)
{
	json_t *other = make(7), *old = NULL;

	for (int i = 0; i < 10000; i++) {
		json_t *v = make(i);

		ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(v, "list"), 0)), i);
		if (i == 5000)
			json_decref(kp_steal(&other));
		if (i == 6000)
			old = v;
		else
			kp_json_room_forget(v);
	}
	kp_json_room_forget(json_integer(5));
	kp_json_room_forget(json_integer(6));
	ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(old, "list"), 0)), 6000);
	json_decref(old);
	kp_json_room_begin();
	other = json_array();
	for (int i = 0; i < 50000; i++)
		json_array_append_new(other, json_sprintf("number %d", i));
	kp_json_room_end();
	kp_json_room_forget(other);
	kp_json_room_forget(NULL);
}
END_TEST

/* More than there is room for, and made larger outside of it. */
START_TEST(large)
{
	json_t *list;

	kp_json_room_begin();
	list = json_array();
	for (int i = 0; i < 50000; i++)
		json_array_append_new(list, json_sprintf("number %d", i));
	kp_json_room_end();
	for (int i = 50000; i < 60000; i++)
		json_array_append_new(list, json_sprintf("number %d", i));
	for (int i = 0; i < 60000; i++) {
		KP_AUTO(kp_freep) char *want = kp_asprintf("number %d", i);

		ck_assert_str_eq(json_string_value(json_array_get(list, (size_t)i)), want);
	}
	json_decref(list);
}
END_TEST

/* What was made before there was any room. */
START_TEST(from_before)
{
	json_t *before = json_pack("{s:s}", "made", "before"), *v = make(1);

	json_object_set_new(before, "list", json_incref(json_object_get(v, "list")));
	json_decref(v);
	ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(before, "list"), 0)), 1);
	json_decref(before);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("json_room");
	TCase *tc = tcase_create("json_room");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, kept);
	tcase_add_test(tc, forgotten);
	tcase_add_test(tc, large);
	tcase_add_test(tc, from_before);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
