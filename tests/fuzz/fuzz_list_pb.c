#include "body.h"

/* Lists of the API server in protobuf. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_body(&kp_codec_pb, KP_BODY_LIST, data, size);
}
