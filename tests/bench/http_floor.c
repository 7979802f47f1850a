/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: what our HTTP server costs by itself. Serves "/now" (answered in the handler) and
 * "/later" (answered from the loop, as everything that waits for the store is) on a Unix
 * socket, until it is killed; http_load drives it.
 *
 *   http_floor SOCKET
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "net/http_server.h"
#include "net/loop.h"

struct later {
	struct timer timer;
	struct http_request *req;
};

static struct loop *loop;
static long n_requests;

static void
reply(struct http_request *req)
{
	static const struct http_field headers[] = {
	    {"Content-Type", "application/json"},
	    {"X-Request-Id", "q-0123456789ab"},
	};
	struct buf b = BUF_INIT(0);

	buf_str(&b, "{\"ok\":true}\n");
	http_reply(req, 200, headers, 2, &b);
}

static void
on_timer(void *arg)
{
	struct later *l = arg;

	reply(l->req);
	free(l);
}

static void
handle(void *arg, struct http_request *req)
{
	n_requests++;
	if (strcmp(http_path(req), "/later") == 0) {
		struct later *l = xnew(struct later);

		l->req = req;
		timer_set(loop_clock(loop), &l->timer, 0, on_timer, l);
		return;
	}
	reply(req);
}

static void
on_signal(void *arg, int signum)
{
	struct rusage ru;
	double s;

	getrusage(RUSAGE_SELF, &ru);
	s = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
	    (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
	printf("server: %ld requests, %.2f s of CPU (%.2f of it in the kernel), %.1f us "
	       "each\n",
	    n_requests, s, (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6,
	    s * 1e6 / (double)(n_requests ? n_requests : 1));
	loop_stop(loop);
}

int
main(int argc, char **argv)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct clock *clock = clock_new_real();
	struct http_options opt = {.handler = handle};
	struct http_server *server;
	struct err err;

	if (argc != 2 || strlen(argv[1]) >= sizeof(addr.sun_path))
		return 2;
	memcpy(addr.sun_path, argv[1], strlen(argv[1]) + 1);
	(void)unlink(argv[1]);
	opt.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(opt.listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(opt.listen_fd, 128) < 0)
		return 1;
	opt.loop = loop = loop_new(clock);
	if (http_server_new(&opt, &server, &err) < 0 ||
	    loop_on_signal(loop, SIGTERM, on_signal, NULL, &err) < 0) {
		(void)fprintf(stderr, "http_floor: %s\n", err.msg);
		return 1;
	}
	loop_run(loop);
	http_server_close(server);
	loop_free(loop);
	clock_free(clock);
	return 0;
}
