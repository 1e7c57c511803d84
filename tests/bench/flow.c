/*
 * Traffic for the data path rows. Bounded in time; prints one JSON object.
 *
 *	flow serve PORT				TCP echo on all addresses, until killed
 *	flow connect IP N PORT SECONDS		new connections to IP..IP+N-1 at random, a byte there and back on each
 *	flow ask IP PORT SECONDS		a byte there and back on one connection, again and again
 *	flow packets DEV MAC SRC IP N SECONDS	SYNs by AF_PACKET to IP..IP+N-1 at random, each a new flow;
 *						N = 0: always the same one. Counts our own processor time, which
 *						on a veth pair includes the receiving side's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/clock.h"

#define MAX_SAMPLES (1 << 20)
#define SEED 7

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

/* --- samples --- */

struct samples {
	uint32_t ns[MAX_SAMPLES];
	size_t n;
	unsigned long long done, errors;
};

static void note(struct samples *s, uint64_t took_ns)
{
	s->done++;
	if (s->n < MAX_SAMPLES)
		s->ns[s->n++] = took_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)took_ns;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double quantile_us(const struct samples *s, double q)
{
	size_t i = (size_t)(q * (double)s->n);

	return s->n ? s->ns[i < s->n ? i : s->n - 1] / 1000.0 : 0;
}

static void print_samples(struct samples *s, double seconds)
{
	qsort(s->ns, s->n, sizeof(s->ns[0]), by_value);
	printf("{\"rate\": %.1f, \"p50_us\": %.2f, \"p90_us\": %.2f, \"p99_us\": %.2f, \"errors\": %llu}\n", (double)s->done / seconds,
	       quantile_us(s, .5), quantile_us(s, .9), quantile_us(s, .99), s->errors);
}

/* --- serve --- */

static int listen_on(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (void *)&a, sizeof(a)) < 0 || listen(fd, 4096) < 0)
		die("listen");
	return fd;
}

static void accept_all(int ep, int listener)
{
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){ .events = EPOLLIN, .data.fd = fd });
	}
}

static void echo(int fd)
{
	char buf[2048];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n <= 0 || write(fd, buf, (size_t)n) != n)
		close(fd);
}

static int serve(char **argv)
{
	int ep = epoll_create1(0), listener = listen_on((uint16_t)strtoul(argv[0], NULL, 10)), n;
	struct epoll_event events[64];

	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &(struct epoll_event){ .events = EPOLLIN, .data.fd = listener });
	puts("ready");
	fflush(stdout);
	while ((n = epoll_wait(ep, events, 64, -1)) >= 0)
		for (int i = 0; i < n; i++)
			if (events[i].data.fd == listener)
				accept_all(ep, listener);
			else
				echo(events[i].data.fd);
	return 1;
}

/* --- connect, ask --- */

static uint32_t address_of(const char *text)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1) {
		fprintf(stderr, "not an address: %s\n", text);
		exit(2);
	}
	return ntohl(a.s_addr);
}

static int open_to(uint32_t ip, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip) };
	struct linger reset = { 1, 0 };		/* no TIME-WAIT: the ports would run out */
	struct timeval limit = { .tv_sec = 2 };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (void *)&to, sizeof(to)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int there_and_back(int fd)
{
	char c = 'x';

	return write(fd, &c, 1) == 1 && read(fd, &c, 1) == 1 ? 0 : -1;
}

static int run_connect(char **argv)
{
	static struct samples s;
	uint32_t first = address_of(argv[0]), count = (uint32_t)strtoul(argv[1], NULL, 10);
	uint16_t port = (uint16_t)strtoul(argv[2], NULL, 10);
	uint64_t rng = SEED, began = kp_now_ns(), until = began + (uint64_t)(strtod(argv[3], NULL) * 1e9), t;

	while ((t = kp_now_ns()) < until && s.errors < 100) {
		int fd = open_to(first + next_random(&rng) % count, port);

		if (fd < 0 || there_and_back(fd) < 0)
			s.errors++;
		else
			note(&s, kp_now_ns() - t);
		if (fd >= 0)
			close(fd);
	}
	print_samples(&s, (double)(kp_now_ns() - began) / 1e9);
	return 0;
}

static int run_ask(char **argv)
{
	static struct samples s;
	int fd = open_to(address_of(argv[0]), (uint16_t)strtoul(argv[1], NULL, 10));
	uint64_t began = kp_now_ns(), until = began + (uint64_t)(strtod(argv[2], NULL) * 1e9), t;

	if (fd < 0)
		die("connect");
	while ((t = kp_now_ns()) < until && !s.errors) {
		if (there_and_back(fd) < 0)
			s.errors++;
		else
			note(&s, kp_now_ns() - t);
	}
	print_samples(&s, (double)(kp_now_ns() - began) / 1e9);
	return 0;
}

/* --- packets --- */

struct frame {
	struct ether_header eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint32_t add_words(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	return sum;
}

/* A SYN whose checksums are right: conntrack drops others. */
static void fill(struct frame *f, uint32_t src, uint32_t dst, uint16_t sport)
{
	uint32_t sum;

	f->ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .saddr = htonl(src), .daddr = htonl(dst),
				.tot_len = htons(sizeof(f->ip) + sizeof(f->tcp)) };
	f->ip.check = htons(fold(add_words(&f->ip, sizeof(f->ip), 0)));
	f->tcp = (struct tcphdr){ .source = htons(sport), .dest = htons(80), .syn = 1, .doff = 5, .window = htons(1024), .seq = htonl(1) };
	sum = IPPROTO_TCP + sizeof(f->tcp) + add_words(&f->ip.saddr, 8, 0);
	f->tcp.check = htons(fold(add_words(&f->tcp, sizeof(f->tcp), sum)));
}

static int packet_socket(const char *dev)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(dev) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0), room = 4 << 20;

	if (fd < 0 || bind(fd, (void *)&to, sizeof(to)) < 0)
		die(dev);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	return fd;
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int run_packets(char **argv)
{
	struct frame f = { .eth.ether_type = htons(ETHERTYPE_IP) };
	int fd = packet_socket(argv[0]);
	uint32_t src = address_of(argv[2]), dst = address_of(argv[3]), count = (uint32_t)strtoul(argv[4], NULL, 10);
	uint64_t rng = SEED, sent = 0, errors = 0, cpu = cpu_ns(), began = kp_now_ns();
	uint64_t until = began + (uint64_t)(strtod(argv[5], NULL) * 1e9);

	if (sscanf(argv[1], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &f.eth.ether_dhost[0], &f.eth.ether_dhost[1], &f.eth.ether_dhost[2],
		   &f.eth.ether_dhost[3], &f.eth.ether_dhost[4], &f.eth.ether_dhost[5]) != 6)
		return 2;
	fill(&f, src, dst, 1024);
	while (sent % 256 || kp_now_ns() < until) {
		if (count)
			fill(&f, src, dst + next_random(&rng) % count, (uint16_t)(1024 + sent % 60000));
		if (send(fd, &f, sizeof(f), 0) != sizeof(f))
			errors++;
		sent++;
	}
	printf("{\"rate\": %.1f, \"cpu_ns\": %.1f, \"errors\": %llu}\n", (double)sent / ((double)(kp_now_ns() - began) / 1e9),
	       (double)(cpu_ns() - cpu) / (double)sent, (unsigned long long)errors);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int n_args, (*run)(char **argv);
	} modes[] = { { "serve", 1, serve }, { "connect", 4, run_connect }, { "ask", 3, run_ask }, { "packets", 6, run_packets } };

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (argc == modes[i].n_args + 2 && strcmp(argv[1], modes[i].name) == 0)
			return modes[i].run(argv + 2);
	fprintf(stderr, "usage: flow serve PORT | connect IP N PORT SECONDS | ask IP PORT SECONDS | packets DEV MAC SRC IP N SECONDS\n");
	return 2;
}
