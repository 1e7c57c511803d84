#include "proxy/handover.h"

#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/fdline.h"
#include "proxy/base/mem.h"

json_t *kp_handover_parse(const char *line, const char **ret)
{
	json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);

	*ret = kp_handover_text(o, "say");
	if (**ret)
		return o;
	json_decref(o);
	return NULL;
}

int kp_handover_int(const json_t *o, const char *key)
{
	return (int)json_integer_value(json_object_get(o, key));
}

const char *kp_handover_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

void kp_handover_say_with(struct kp_fdline *l, json_t *value, int fd)
{
	KP_AUTO(kp_freep) char *line = json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII);

	kp_fdline_put(l, line ? line : "{}", fd);	/* only text that is no UTF-8 has no JSON */
	json_decref(value);
}

void kp_handover_say(struct kp_fdline *l, json_t *value)
{
	kp_handover_say_with(l, value, -1);
}

void kp_handover_say_no(struct kp_fdline *l, const char *why)
{
	kp_handover_say(l, json_pack("{s:s, s:s}", "say", "no", "why", why));
}

void kp_handover_say_sockets(struct kp_fdline *l, struct kp_inherit *in)
{
	for (size_t i = 0; i < in->n; i++) {
		struct kp_inherited *s = &in->items[i];
		char addr[KP_ADDR_STRLEN];

		kp_handover_say_with(l, json_pack("{s:s, s:s, s:s, s:i}", "say", "socket", "name", s->name, "address",
						  s->port ? kp_addr_str(&s->addr, addr) : "", "port", (int)s->port), s->fd);
		free(s->name);
	}
	in->n = 0;
	kp_inherit_free(in);
}

/* Who gives two checks one name passes it if both do. */
void kp_handover_say_given(struct kp_fdline *l, const struct kp_handover_node *node)
{
	json_t *checks = json_object();

	for (size_t i = 0; i < node->n_checks; i++) {
		const struct hz_check *c = &node->checks[i];
		bool failed = json_is_false(json_object_get(checks, c->name));

		json_object_set_new(checks, c->name, json_boolean(c->ok && !failed));
	}
	kp_handover_say(l, json_pack("{s:s, s:i, s:i, s:o}", "say", "given", "nodeState", node->node_state,
				     "drain", node->drain, "checks", checks));
}

void kp_handover_read_given(const json_t *o, struct kp_handover_node *ret)
{
	json_t *checks = json_object_get(o, "checks"), *ok;
	const char *name;

	*ret = (struct kp_handover_node){
		.node_state = kp_handover_int(o, "nodeState"), .drain = kp_handover_int(o, "drain"),
	};
	json_object_foreach(checks, name, ok) {
		if (ret->n_checks == HZ_MAX_CHECKS)
			break;
		snprintf(ret->checks[ret->n_checks].name, HZ_CHECK_NAME, "%s", name);
		ret->checks[ret->n_checks++].ok = json_is_true(ok);
	}
}
