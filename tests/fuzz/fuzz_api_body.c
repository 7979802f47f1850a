/* SPDX-License-Identifier: Apache-2.0 */
/* The input as the body of each route that has one. What is refused is refused with a reason that can be shown;
   what is taken is within the bounds that core relies on. */
#include <assert.h>
#include <jansson.h>
#include <string.h>

#include "api/encode.h"
#include "api/fields.h"
#include "api/reserve_body.h"
#include "base/id.h"
#include "fuzz.h"

static void
check_reserve(const struct reserve_body *r, const struct keys *keys)
{
	assert(keys->n >= 1 && keys->n <= CORE_KEYS_MAX);
	assert(r->count == -1 || (r->count >= 1 && r->count <= CORE_COUNT_MAX));
	assert(r->hold_ms == 0 || r->hold_ms >= 1000);
	assert(r->idle_ms >= 0);
	assert(!r->name || name_valid(r->name));
	assert(!r->pool || name_valid(r->pool));
	assert(!r->request_id || strlen(r->request_id) <= 128);
}

/* The refusal is JSON, whatever of the input it quotes. */
static void
check_refusal(const struct err *err)
{
	AUTO_BUF struct buf b = BUF_INIT(0);
	json_t *v;

	assert(err->code == ERR_INVALID && err->msg[0]);
	encode_error(&b, err);
	v = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
	assert(v);
	json_decref(v);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	AUTO_KEYS struct keys keys = {.n = 0}, others = {.n = 0};
	struct reserve_body r;
	json_t *body;
	int64_t ms;
	struct err err;

	if (n > 65536)
		return 0;
	if (fields_parse((const char *)data, n, &body, &err) < 0) {
		check_refusal(&err);
		return 0;
	}
	if (reserve_body_read(body, &r, &keys, &err) == 0)
		check_reserve(&r, &keys);
	else
		check_refusal(&err);
	if (certify_body_read(body, &others, &err) < 0)
		check_refusal(&err);
	if (extend_body_read(body, &ms, &err) == 0)
		assert(ms >= 1000);
	else
		check_refusal(&err);
	json_decref(body);
	return 0;
}
