/* SPDX-License-Identifier: Apache-2.0 */
#include "api/reserve_body.h"

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "api/fields.h"

#define HOURS_MIN (1.0 / 3600)
#define HOURS_MAX 876000 /* a century; core has the operator's bound */

void
keys_fini(struct keys *keys)
{
	for (int i = 0; i < keys->n; i++)
		ssh_pubkey_fini(&keys->key[i]);
}

/* `array` has CORE_KEYS_MAX elements at most; NULL is none. */
static int
keys_read(const json_t *array, struct keys *keys, struct err *err)
{
	size_t i;
	json_t *v;

	json_array_foreach ((json_t *)array, i, v) {
		const char *text = json_string_value(v);

		if (!text)
			return err_set(err, ERR_INVALID,
			    "field 'public_keys[%zu]': expected a string", i);
		if (ssh_pubkey_parse(
			text, json_string_length(v), &keys->key[keys->n], err) < 0)
			return err_wrap(err, "field 'public_keys[%zu]'", i);
		keys->n++;
	}
	return 0;
}

#define DISK_SIZE_MAX ((double)(INT64_C(1) << 53)) /* what JSON numbers hold */

/* "NAME" or "NAME:SIZE", as the command line has it. */
static int
disk_text(const char *s, struct reserve_disk *ret, struct err *err)
{
	size_t n = strcspn(s, ":");

	if (n >= sizeof(ret->name))
		return err_set(err, ERR_INVALID, "the name is too long");
	memcpy(ret->name, s, n);
	ret->name[n] = '\0';
	return s[n] ? size_parse(s + n + 1, &ret->size_bytes, err) : 0;
}

static int
disk_object(const json_t *v, struct reserve_disk *ret, struct err *err)
{
	struct body {
		const char *name, *size;
		int64_t bytes;
	} body = {0};
	static const struct field fields[] = {
	    {"name", FIELD_NAME, offsetof(struct body, name), 0, 0, true},
	    {"size", FIELD_PRINTABLE, offsetof(struct body, size), 1, 20},
	    {"size_bytes", FIELD_INT, offsetof(struct body, bytes), 1, DISK_SIZE_MAX},
	};

	if (fields_read(v, fields, sizeof(fields) / sizeof(fields[0]), &body, err) < 0)
		return -1;
	if (body.size && body.bytes)
		return err_set(
		    err, ERR_INVALID, "'size' and 'size_bytes' exclude each other");
	(void)snprintf(ret->name, sizeof(ret->name), "%s", body.name);
	ret->size_bytes = body.bytes;
	return body.size ? size_parse(body.size, &ret->size_bytes, err) : 0;
}

/* `array` has RESERVATION_DISKS_MAX elements at most; NULL is none. */
static int
disks_read(const json_t *array, struct reserve_body *r, struct err *err)
{
	size_t i;
	json_t *v;

	json_array_foreach ((json_t *)array, i, v) {
		struct reserve_disk *to = &r->disk[r->n_disks++];
		const char *text = json_string_value(v);

		if (!text && !json_is_object(v))
			return err_set(err, ERR_INVALID,
			    "field 'disks[%zu]': expected an object with a name, or "
			    "\"NAME:SIZE\"",
			    i);
		if ((text ? disk_text(text, to, err) : disk_object(v, to, err)) < 0)
			return err_wrap(err, "field 'disks[%zu]'", i);
	}
	return 0;
}

/* clang-format off */
#define AT(member) offsetof(struct reserve_body, member)
static const struct field reserve_fields[] = {
	{ "pool",         FIELD_NAME,      AT(pool) },
	{ "hours",        FIELD_HOURS,     AT(hold_ms), HOURS_MIN, HOURS_MAX },
	{ "name",         FIELD_NAME,      AT(name) },
	{ "public_keys",  FIELD_ARRAY,     AT(public_keys), 1, CORE_KEYS_MAX },
	{ "github",       FIELD_PRINTABLE, AT(github), 1, 39 },
	{ "disks",        FIELD_ARRAY,     AT(disks), 0, RESERVATION_DISKS_MAX },
	{ "count",        FIELD_INT,       AT(count), 1, CORE_COUNT_MAX },
	{ "idle",         FIELD_DURATION,  AT(idle_ms), 1000, HOURS_MAX * 3600e3 },
	{ "request_id",   FIELD_PRINTABLE, AT(request_id), 1, 128 },
	{ "no_wait",      FIELD_BOOL,      AT(no_wait) },
	{ "no_warm",      FIELD_BOOL,      AT(no_warm) },
	{ "require_disk", FIELD_BOOL,      AT(require_disk) },
	{ "wait_disk",    FIELD_BOOL,      AT(wait_disk) },
	{ "snapshot_disks", FIELD_BOOL,    AT(snapshot_disks) },
};
#undef AT
/* clang-format on */

int
reserve_body_read(
    const json_t *body, struct reserve_body *r, struct keys *keys, struct err *err)
{
	*r = (struct reserve_body){.count = -1};
	if (fields_read(body, reserve_fields,
		sizeof(reserve_fields) / sizeof(reserve_fields[0]), r, err) < 0)
		return -1;
	if (disks_read(r->disks, r, err) < 0)
		return -1;
	if (r->github && r->public_keys) {
		err_set(err, ERR_INVALID,
		    "fields 'github' and 'public_keys' exclude each other");
		return err_hint(err, "give one of them");
	}
	if (!r->github && !r->public_keys) {
		err_set(err, ERR_INVALID, "field 'public_keys' is missing");
		return err_hint(err,
		    "give the line of a .pub file, which ssh-keygen makes, or github");
	}
	return keys_read(r->public_keys, keys, err);
}

int
certify_body_read(const json_t *body, struct keys *keys, struct err *err)
{
	static const struct field fields[] = {
	    {"public_keys", FIELD_ARRAY, 0, 0, CORE_KEYS_MAX},
	};
	const json_t *array = NULL;

	if (fields_read(body, fields, 1, &array, err) < 0)
		return -1;
	return keys_read(array, keys, err);
}

int
extend_body_read(const json_t *body, int64_t *ret_ms, struct err *err)
{
	static const struct field fields[] = {
	    {"hours", FIELD_HOURS, 0, HOURS_MIN, HOURS_MAX, true},
	};
	int64_t ms = 0;

	if (fields_read(body, fields, 1, &ms, err) < 0)
		return -1;
	*ret_ms = ms;
	return 0;
}
