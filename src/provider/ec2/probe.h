/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_EC2_PROBE_H
#define PROVIDER_EC2_PROBE_H

/*
 * Watches a port until an SSH server identifies itself there as expected. An instance that is not up answers nothing
 * at all, and the kernel repeats a SYN only after a second; so a new attempt is begun at every interval, beside those
 * that are still out.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct clock;
struct probe;
struct uv_loop_s;

struct probe_spec {
	struct uv_loop_s *uv; /* borrowed, as all */
	struct clock *clock;
	const char *address; /* IPv4 or IPv6; copied, as `want` */
	int port;
	const char *want; /* must stand in the identification; NULL: any will do */
	int interval_ms;
	int64_t timeout_ms; /* 0: until it is cancelled */
};

/* err set: not within timeout_ms (ERR_UNAVAILABLE, with what came instead), or the address is none. The probe is over
   when this is called. */
typedef void (*probe_fn)(void *arg, const struct err *err);

/* Never calls fn before it returns. */
struct probe *probe_start(const struct probe_spec *spec, probe_fn fn, void *arg);

/* fn is not called any more. NULL is nothing. */
void probe_cancel(struct probe *p);

#endif
