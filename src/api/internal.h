/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_INTERNAL_H
#define API_INTERNAL_H

/* What the files of src/api share: a call on its way, and the handlers that the table of routes names. */

#include <stdbool.h>
#include <stdint.h>

#include "api/caller.h"
#include "api/stats.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "core/core.h"

struct call;
struct json_t;

enum role { ROLE_USER, ROLE_OPERATOR };

/* What a route's query may say. */
enum { QUERY_ALL = 1, QUERY_WAIT = 2, QUERY_SINCE = 4 };

/* Must lead to exactly one call_reply(), call_fail() or stream. `call->body` is gone when it returns. */
typedef void (*route_fn)(struct call *call);

struct route {
	const char *method;
	const char *pattern; /* "{id}" stands for one segment */
	enum role role;
	unsigned query;
	route_fn handler;
};

extern const struct route routes[];
extern const int n_routes;

struct api {
	struct core *core;
	struct clock *clock;
	struct callers *callers;
	struct stats *stats;
	void (*metrics)(void *arg, struct buf *out);
	void *metrics_arg;
	struct list streams; /* of events.c */
	int64_t started_ms;
	bool stopping;
};

struct call {
	struct api *api;
	struct http_request *http;
	const struct route *route; /* NULL: none matched */
	struct core_caller caller; /* user: borrowed, only in the handler */
	int64_t started_ns;
	struct json_t *body; /* borrowed; an object; only in the handler */
	int64_t wait_ms;     /* ?wait=, else -1 */
	int64_t since;	     /* ?since=, else -1 */
	bool all;
	bool as_list; /* for handlers: reply with an array */
	char request_id[65];
	char key[256]; /* what stands for {id}, decoded */
};

/* Both end the call and free it. */
void call_reply(
    struct call *call, int status, struct buf *body); /* takes the contents of body */
void call_fail(struct call *call, const struct err *err);

/* An empty buffer for a reply, with room for most. */
struct buf call_buf(void);

/* Ends the call of a request that has become a stream. */
void call_became_stream(struct call *call, int status);

/* reservations.c */
void handle_reserve(struct call *call);
void handle_reservations(struct call *call);
void handle_reservation(struct call *call);
void handle_extend(struct call *call);
void handle_cancel(struct call *call);
void handle_certify(struct call *call);
void handle_trace(struct call *call);
void handle_why(struct call *call);

/* pools.c */
void handle_pools(struct call *call);
void handle_pool(struct call *call);
void handle_pool_set(struct call *call);
void handle_machines(struct call *call);
void handle_machine(struct call *call);
void handle_images(struct call *call);
void handle_image_build(struct call *call);
void handle_image_delete(struct call *call);

/* disks.c */
void handle_disks(struct call *call);
void handle_disk_create(struct call *call);
void handle_disk(struct call *call);
void handle_disk_delete(struct call *call);
void handle_disk_snapshot(struct call *call);
void handle_disk_clone(struct call *call);

/* system.c */
void handle_audit(struct call *call);
void handle_repair(struct call *call);
void handle_metrics(struct call *call);
void handle_health(struct call *call);
void handle_bench(struct call *call);

/* events.c */
void handle_events(struct call *call);
void events_stop(struct api *api);

#endif
