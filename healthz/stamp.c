#include "healthz/stamp.h"

#include <stdio.h>

#define NS_PER_S 1000000000u
#define S_PER_DAY 86400u

struct moment {
	unsigned year, month, day, hour, min, sec, ns;	/* month and day count from 1 */
	unsigned weekday;				/* 0: Sunday */
};

static unsigned days_in_year(unsigned year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 366 : 365;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return month == 2 && days_in_year(year) == 366 ? 29 : days[month - 1];
}

static struct moment split(uint64_t wall_ns)
{
	uint64_t s = wall_ns / NS_PER_S;
	unsigned rest = (unsigned)(s / S_PER_DAY), in_day = (unsigned)(s % S_PER_DAY);
	struct moment m = {
		.year = 1970, .month = 1,
		.hour = in_day / 3600, .min = in_day / 60 % 60, .sec = in_day % 60,
		.ns = (unsigned)(wall_ns % NS_PER_S),
		.weekday = (rest + 4) % 7,	/* 1970 began on a Thursday */
	};

	/* 64 bits of nanoseconds end in 2554: a walk over years and months is short. */
	for (; rest >= days_in_year(m.year); m.year++)
		rest -= days_in_year(m.year);
	for (; rest >= days_in_month(m.year, m.month); m.month++)
		rest -= days_in_month(m.year, m.month);
	m.day = rest + 1;
	return m;
}

const char *hz_stamp_rfc3339(uint64_t wall_ns, char *out)
{
	const struct moment zero = { .year = 1, .month = 1, .day = 1 };
	struct moment m = wall_ns ? split(wall_ns) : zero;
	char fraction[16] = "";
	size_t n = 0;

	if (m.ns) {
		n = (size_t)snprintf(fraction, sizeof(fraction), ".%09u", m.ns);
		while (fraction[n - 1] == '0')
			n--;
	}
	snprintf(out, HZ_RFC3339_LEN, "%04u-%02u-%02uT%02u:%02u:%02u%.*sZ",
		 m.year, m.month, m.day, m.hour, m.min, m.sec, (int)n, fraction);
	return out;
}

const char *hz_stamp_http(uint64_t wall_ns, char *out)
{
	static const char weekdays[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct moment m = split(wall_ns);

	snprintf(out, HZ_HTTP_DATE_LEN, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", weekdays + 3 * m.weekday, m.day,
		 months + 3 * (m.month - 1), m.year, m.hour, m.min, m.sec);
	return out;
}
