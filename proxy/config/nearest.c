#include "proxy/config/nearest.h"

#include <string.h>

#define LONGEST 63

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	a = a < b ? a : b;
	return a < c ? a : c;
}

/* Edit distance, row by row; anything above most once it can only be that. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len, unsigned most)
{
	unsigned row[LONGEST + 1];

	for (unsigned i = 0; i <= b_len; i++)
		row[i] = i;
	for (unsigned i = 0; i < a_len; i++) {
		unsigned diagonal = row[0], least = i + 1;

		row[0] = i + 1;
		for (size_t j = 0; j < b_len; j++) {
			unsigned change = diagonal + (a[i] != b[j]);

			diagonal = row[j + 1];
			row[j + 1] = min3(row[j] + 1, row[j + 1] + 1, change);
			least = row[j + 1] < least ? row[j + 1] : least;
		}
		if (least > most)
			return least;
	}
	return row[b_len];
}

void kp_nearest_offer(struct kp_nearest *n, const char *word, const char *known)
{
	size_t word_len = strlen(word), known_len = strlen(known);
	size_t shorter = word_len < known_len ? word_len : known_len, at_least = word_len + known_len - 2 * shorter;
	unsigned d, limit = 1 + (unsigned)shorter / 3;

	if (n->best && n->distance <= limit)
		limit = n->distance ? n->distance - 1 : 0;
	if (word_len > LONGEST || known_len > LONGEST || at_least > limit)
		return;
	d = distance(word, word_len, known, known_len, limit);
	if (d > limit)
		return;
	n->best = known;
	n->distance = d;
}
