#include "proxy/source/codec.h"

#include <string.h>
#include <strings.h>

#include "proxy/base/cleanup.h"

static const struct kp_codec *const codecs[] = { &kp_codec_json, &kp_codec_pb };

const char *kp_codec_accept(enum kp_body_kind kind, bool json_only)
{
	if (json_only)
		return "application/json";
	if (kind == KP_BODY_WATCH)
		return "application/vnd.kubernetes.protobuf;stream=watch, application/json";
	return "application/vnd.kubernetes.protobuf, application/json";
}

const struct kp_codec *kp_codec_find(const char *content_type)
{
	size_t len = strcspn(content_type, "; \t");

	for (size_t i = 0; i < KP_N(codecs); i++)
		if (strlen(codecs[i]->content_type) == len && strncasecmp(codecs[i]->content_type, content_type, len) == 0)
			return codecs[i];
	return NULL;
}
