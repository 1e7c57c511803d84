#include "fuzz.h"
#include "proxy/source/codec.h"

/* Answers that are no list: a content type in the first line, then a Status or anything else. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = size ? memchr(data, '\n', size) : NULL;
	size_t n = newline ? (size_t)(newline - data) : 0;
	char *type = kp_strndup((const char *)data, n), *text;
	const struct kp_codec *codec = kp_codec_find(type);

	if (codec)	/* as a whole word, whatever the case */
		FUZZ_CHECK(strlen(codec->content_type) == strcspn(type, "; \t"));
	text = kp_watch_refusal((const char *)data + n, size - n);
	FUZZ_CHECK(text && strlen(text) <= 300);
	free(text);
	free(type);
	return 0;
}
