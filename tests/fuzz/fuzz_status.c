#include "fuzz.h"
#include "proxy/status.h"

/* What "proxylet status" makes of any JSON that comes through the socket: lines. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *value = json_loadb((const char *)data, size, 0, NULL);
	struct kp_buf out = { 0 };

	kp_status_text(value, &out);
	FUZZ_CHECK(out.len && out.data[out.len - 1] == '\n');
	kp_buf_release(&out);
	json_decref(value);
	return 0;
}
