/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_API_H
#define API_API_H

/*
 * The HTTP API (docs/api.md): routes, who may call them, what bodies may say, and what comes back. One
 * thread, the loop's. Every request is answered with JSON, but for /v1/events and /metrics; every reply
 * bears an X-Request-Id.
 */

#include <stdint.h>

struct api;
struct buf;
struct clock;
struct core;
struct http_request;

#define API_NO_OWNER UINT32_MAX

struct api_options {
	struct core *core;   /* borrowed */
	struct clock *clock; /* borrowed */
	/* A daemon that was not started as root serves the user who did start it, who is an operator then:
	   the state is theirs anyway. API_NO_OWNER where privileges were dropped. */
	uint32_t owner_uid;
	const char *admin_group; /* its members are operators; NULL: "hearth-admin" */
	/* Appends what else /metrics is to say, Prometheus text; NULL: nothing. Not called after api_stop(). */
	void (*metrics)(void *arg, struct buf *out);
	void *metrics_arg;
};

struct api *api_new(const struct api_options *opt);

/* What http_options.handler is to be, the api being its argument. */
void api_handle(void *arg, struct http_request *req);

/* Ends every event stream, and answers what comes from now on with `unavailable`. Before core_close(). */
void api_stop(struct api *api);

/* After core_close(), which answers what waits, and http_server_close(). */
void api_free(struct api *api);

#endif
