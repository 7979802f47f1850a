/* SPDX-License-Identifier: Apache-2.0 */
/* Audit, metrics, health. */
#include "api/encode.h"
#include "api/fields.h"
#include "api/internal.h"
#include "api/put.h"
#include "base/clock.h"

static void
on_audit(void *arg, const struct audit *a, const struct err *err)
{
	struct call *call = arg;
	struct buf b;

	if (!a) {
		call_fail(call, err);
		return;
	}
	b = call_buf();
	encode_audit(&b, a);
	call_reply(call, 200, &b);
}

void
handle_audit(struct call *call)
{
	core_audit(call->api->core, &call->caller, false, on_audit, call);
}

void
handle_repair(struct call *call)
{
	static const struct field fields[] = {{"repair", FIELD_BOOL, 0}};
	bool repair = true;
	struct err err;

	if (fields_read(call->body, fields, 1, &repair, &err) < 0)
		call_fail(call, &err);
	else
		core_audit(call->api->core, &call->caller, repair, on_audit, call);
}

void
handle_metrics(struct call *call)
{
	struct buf b = call_buf();

	core_metrics(call->api->core, &b);
	if (call->api->metrics)
		call->api->metrics(call->api->metrics_arg, &b);
	stats_write(call->api->stats, &b);
	call_reply(call, 200, &b);
}

void
handle_health(struct call *call)
{
	struct buf b = call_buf();
	int64_t up = clock_now_ms(call->api->clock) - call->api->started_ms;

	put_open(&b, NULL, '{');
	put_bool(&b, "ok", true);
	put_str(&b, "state", "serving");
	put_str(&b, "version", HEARTH_VERSION);
	put_num(&b, "uptime", (double)up / 1000);
	put_close(&b, '}');
	call_reply(call, 200, &b);
}

void
handle_bench(struct call *call)
{
	struct err err;

	err_set(
	    &err, ERR_INVALID, "bench: benchmarks by technique are not available yet");
	err_hint(&err, "'make bench' in the source tree measures this daemon");
	call_fail(call, &err);
}
