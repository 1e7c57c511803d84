#include "proxy/base/jsonpath.h"

#include <string.h>

json_t *kp_json_at(json_t *doc, const char *path)
{
	for (const char *dot; doc && (dot = strchr(path, '.')) != NULL; path = dot + 1)
		doc = json_object_getn(doc, path, (size_t)(dot - path));
	return json_object_get(doc, path);
}

void kp_json_put(json_t *into, const char *path, json_t *taken)
{
	for (const char *dot; (dot = strchr(path, '.')) != NULL; path = dot + 1) {
		json_t *below = json_object_getn(into, path, (size_t)(dot - path));

		if (!below) {
			below = json_object();
			json_object_setn_new(into, path, (size_t)(dot - path), below);
		}
		into = below;
	}
	json_object_set_new(into, path, taken);
}
