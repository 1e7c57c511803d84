#include "body.h"

/* Watches of the API server in JSON. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_body(&kp_codec_json, KP_BODY_WATCH, data, size);
}
