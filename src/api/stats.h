/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_STATS_H
#define API_STATS_H

/* What /metrics says of the API itself and of the process: requests by route and status, how long they
   took, memory, descriptors. */

#include <stdint.h>

struct buf;
struct route;
struct stats;

struct stats *stats_new(void);
void stats_free(struct stats *s);

/* `route` is NULL for requests that matched none. */
void stats_count(struct stats *s, const struct route *route, int status, int64_t took_ns);

/* Prometheus text. */
void stats_write(const struct stats *s, struct buf *out);

#endif
