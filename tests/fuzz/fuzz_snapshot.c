#include "fuzz.h"
#include "proxy/base/err.h"
#include "proxy/source/pack.h"
#include "proxy/source/snapfile.h"

/* What was read can be written, and read again as the same. */
static void there_and_back(const struct kp_object *o)
{
	struct kp_buf first = { 0 }, second = { 0 };
	struct kp_object same;
	size_t at = 0;

	kp_pack(&first, o->kind, o->value);
	FUZZ_CHECK(kp_unpack(first.data, first.len, &at, &same) == 1 && at == first.len);
	FUZZ_CHECK(same.kind == o->kind && strcmp(same.key, o->key) == 0);
	kp_pack(&second, same.kind, same.value);
	FUZZ_CHECK(fuzz_same(&first, &second));
	kp_object_release(&same);
	kp_buf_release(&first);
	kp_buf_release(&second);
}

/* The objects of a snapshot, behind a head that is made to fit: chance finds no checksum. And all of it as a file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = fuzz_copy(data, size);
	struct kp_buf file = { 0 };
	struct kp_err err = { 0 };
	struct kp_object o;
	struct kp_snapfile_head head;
	size_t at = 0;

	if (kp_snapfile_check(copy, size, "node-1", &head, &err) < 0)
		FUZZ_CHECK(*err.msg);
	for (at = 0; kp_unpack(copy, size, &at, &o) > 0;) {
		there_and_back(&o);
		kp_object_release(&o);
	}
	kp_snapfile_open(&file, "node-1", 2);
	kp_buf_add(&file, data, size);
	kp_snapfile_close(&file, 1);
	FUZZ_CHECK(kp_snapfile_check(file.data, file.len, "node-1", &head, &err) == 0 && head.wall_ns == 1 && head.boot == 2);
	FUZZ_CHECK(file.len - head.at == size && (!size || memcmp(file.data + head.at, data, size) == 0));
	kp_buf_release(&file);
	free(copy);
	return 0;
}
