#include "proxy/base/doc_impl.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/*
 * Walks down a path through libyaml's events; JSON is read as the flow style that it is.
 * The parsers that made the values keep no positions, because hardly any is ever asked for.
 */
struct finder {
	yaml_parser_t parser;
	yaml_event_t ev;
	bool is_bad;
};

static yaml_event_type_t next(struct finder *f)
{
	yaml_event_delete(&f->ev);
	if (!f->is_bad && !yaml_parser_parse(&f->parser, &f->ev))
		f->is_bad = true;
	return f->is_bad ? YAML_NO_EVENT : f->ev.type;
}

static bool opens(yaml_event_type_t t)
{
	return t == YAML_MAPPING_START_EVENT || t == YAML_SEQUENCE_START_EVENT;
}

static bool closes(yaml_event_type_t t)
{
	return t == YAML_MAPPING_END_EVENT || t == YAML_SEQUENCE_END_EVENT;
}

/* Past the value that begins with the current event. */
static void skip(struct finder *f)
{
	for (unsigned depth = 0;; next(f)) {
		depth += opens(f->ev.type);
		depth -= closes(f->ev.type);
		if (!depth || f->is_bad)
			return;
	}
}

/* The first step of a path ("name", ".name", "[name]", "[3]") without its signs. */
static size_t first_step(const char *path, const char **ret_name, const char **ret_rest)
{
	bool bracket = *path == '[';
	size_t len;

	path += *path == '.' || bracket;
	len = strcspn(path, bracket ? "]" : ".[");
	*ret_name = path;
	*ret_rest = path + len + (bracket && path[len]);
	return len;
}

static unsigned find(struct finder *f, const char *path);

static unsigned found(struct finder *f, const char *rest, unsigned line)
{
	return *rest ? find(f, rest) : line;
}

static unsigned find_member(struct finder *f, const char *name, size_t len, const char *rest)
{
	while (next(f) == YAML_SCALAR_EVENT) {
		unsigned line = (unsigned)f->ev.start_mark.line + 1;
		bool match = f->ev.data.scalar.length == len && memcmp(f->ev.data.scalar.value, name, len) == 0;

		next(f);
		if (match)
			return found(f, rest, line);
		skip(f);
	}
	return 0;
}

static unsigned find_element(struct finder *f, unsigned long index, const char *rest)
{
	for (unsigned long i = 0; !closes(next(f)) && !f->is_bad; i++) {
		if (i == index)
			return found(f, rest, (unsigned)f->ev.start_mark.line + 1);
		skip(f);
	}
	return 0;
}

/* path leads on from the value that begins with the current event. */
static unsigned find(struct finder *f, const char *path)
{
	const char *name, *rest;
	size_t len = first_step(path, &name, &rest);

	if (f->ev.type == YAML_MAPPING_START_EVENT)
		return find_member(f, name, len, rest);
	if (f->ev.type == YAML_SEQUENCE_START_EVENT && *path == '[')
		return find_element(f, strtoul(name, NULL, 10), rest);
	return 0;
}

unsigned kp_doc_line_of(const char *text, size_t len, const char *path)
{
	size_t bom = kp_doc_bom_len(text, len);
	struct finder f = { 0 };
	unsigned line = 0;

	if (!yaml_parser_initialize(&f.parser))
		abort();	/* out of memory, as everywhere */
	yaml_parser_set_encoding(&f.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&f.parser, (const unsigned char *)text + bom, len - bom);
	while (!f.is_bad && next(&f) != YAML_DOCUMENT_START_EVENT && f.ev.type != YAML_STREAM_END_EVENT)
		;
	if (f.ev.type == YAML_DOCUMENT_START_EVENT) {
		next(&f);
		line = find(&f, path);
	}
	yaml_event_delete(&f.ev);
	yaml_parser_delete(&f.parser);
	return line;
}
