/* SPDX-License-Identifier: Apache-2.0 */
#include "api/stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/internal.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

static const int statuses[] = {
    200, 201, 202, 400, 403, 404, 405, 409, 413, 429, 500, 503};
static const double buckets_s[] = {
    .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10};

#define N_STATUSES (int)(sizeof(statuses) / sizeof(statuses[0]))
#define N_BUCKETS (int)(sizeof(buckets_s) / sizeof(buckets_s[0]))

struct route_stats {
	uint64_t by_status[N_STATUSES + 1]; /* the last: any other */
	uint64_t by_bucket[N_BUCKETS + 1];  /* not added up yet */
	uint64_t n;
	int64_t sum_ns;
};

struct stats {
	struct route_stats *routes; /* n_routes, and one for what matched none */
};

struct stats *
stats_new(void)
{
	struct stats *s = xnew(struct stats);

	s->routes = xcalloc((size_t)n_routes + 1, sizeof(*s->routes));
	return s;
}

void
stats_free(struct stats *s)
{
	if (!s)
		return;
	free(s->routes);
	free(s);
}

void
stats_count(struct stats *s, const struct route *route, int status, int64_t took_ns)
{
	struct route_stats *r = &s->routes[route ? route - routes : n_routes];
	int i = 0, b = 0;

	while (i < N_STATUSES && statuses[i] != status)
		i++;
	while (b < N_BUCKETS && (double)took_ns / 1e9 > buckets_s[b])
		b++;
	r->by_status[i]++;
	r->by_bucket[b]++;
	r->n++;
	r->sum_ns += took_ns;
}

static void
write_label(int i, struct buf *out)
{
	if (i == n_routes)
		buf_str(out, "{method=\"\",route=\"none\"");
	else
		buf_fmt(out, "{method=\"%s\",route=\"%s\"", routes[i].method,
		    routes[i].pattern);
}

static void
write_counts(const struct stats *s, struct buf *out)
{
	buf_str(out,
	    "# HELP hearth_http_requests_total Requests answered, by route and status.\n"
	    "# TYPE hearth_http_requests_total counter\n");
	for (int i = 0; i <= n_routes; i++) {
		for (int j = 0; j <= N_STATUSES; j++) {
			if (s->routes[i].by_status[j] == 0)
				continue;
			buf_str(out, "hearth_http_requests_total");
			write_label(i, out);
			buf_fmt(out, ",status=\"%d\"} %llu\n",
			    j < N_STATUSES ? statuses[j] : 0,
			    (unsigned long long)s->routes[i].by_status[j]);
		}
	}
}

static void
write_histogram(const struct route_stats *r, int i, struct buf *out)
{
	unsigned long long sum = 0;

	for (int b = 0; b <= N_BUCKETS; b++) {
		sum += r->by_bucket[b];
		buf_str(out, "hearth_http_request_seconds_bucket");
		write_label(i, out);
		if (b < N_BUCKETS)
			buf_fmt(out, ",le=\"%g\"} %llu\n", buckets_s[b], sum);
		else
			buf_fmt(out, ",le=\"+Inf\"} %llu\n", sum);
	}
	buf_str(out, "hearth_http_request_seconds_sum");
	write_label(i, out);
	buf_fmt(out, "} %.6f\n", (double)r->sum_ns / 1e9);
	buf_str(out, "hearth_http_request_seconds_count");
	write_label(i, out);
	buf_fmt(out, "} %llu\n", (unsigned long long)r->n);
}

static long
resident_bytes(void)
{
	AUTO_CLOSE int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	char text[128] = "";
	char *end;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;
	(void)strtol(text, &end, 10); /* proc(5): size resident … in pages */
	return strtol(end, NULL, 10) * sysconf(_SC_PAGESIZE);
}

static int
open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = -3; /* ".", ".." and the directory's own */

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void
write_process(struct buf *out)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	buf_fmt(out,
	    "# HELP process_resident_memory_bytes Memory of the daemon.\n"
	    "# TYPE process_resident_memory_bytes gauge\n"
	    "process_resident_memory_bytes %ld\n"
	    "# HELP process_open_fds Open file descriptors of the daemon.\n"
	    "# TYPE process_open_fds gauge\n"
	    "process_open_fds %d\n"
	    "# HELP process_cpu_seconds_total Processor time the daemon has used.\n"
	    "# TYPE process_cpu_seconds_total counter\n"
	    "process_cpu_seconds_total %.3f\n",
	    resident_bytes(), open_fds(), (double)ts.tv_sec + (double)ts.tv_nsec / 1e9);
}

void
stats_write(const struct stats *s, struct buf *out)
{
	write_process(out);
	write_counts(s, out);
	buf_str(out, "# HELP hearth_http_request_seconds Time from the request's end to "
		     "its answer.\n"
		     "# TYPE hearth_http_request_seconds histogram\n");
	for (int i = 0; i <= n_routes; i++)
		if (s->routes[i].n > 0)
			write_histogram(&s->routes[i], i, out);
}
