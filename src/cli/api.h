/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_API_H
#define CLI_API_H

/* Calls of hearthd's API: paths are encoded, replies are parsed, and the daemon's errors come back as
   errors of ours with its message and hint. */

#include <jansson.h>

#include "base/err.h"
#include "cli/cli.h"

/* Waits for all of the reply; a bound for daemons that hang, not for slow work. */
#define API_TIMEOUT_MS 60000

/* Makes the client, if there is none yet. */
struct client *api_client(struct cli *cli);

/* `body` is borrowed and may be NULL. *ret is owned; pass NULL where the reply does not matter. */
int api_call(struct cli *cli, const char *method, const char *path, const json_t *body,
    json_t **ret, struct err *err) ERR_CHECK;
int api_call_for(struct cli *cli, const char *method, const char *path,
    const json_t *body, int timeout_ms, json_t **ret, struct err *err) ERR_CHECK;

/* For GET and DELETE, which may be sent twice: as above, but a daemon that was there and is being
   restarted is waited for. Ends with ERR_CANCELLED when a signal comes (interrupt.h). */
int api_call_patient(struct cli *cli, const char *method, const char *path,
    int timeout_ms, json_t **ret, struct err *err) ERR_CHECK;

/* GET of a list; fails unless the reply is an array. */
int api_list(struct cli *cli, const char *path, json_t **ret, struct err *err) ERR_CHECK;

/* "/v1/KIND/REF" and `tail` ("" or "/trace", "?wait=10"), REF encoded. Owned. */
char *api_path(const char *kind, const char *ref, const char *tail);

/* A JSON string of what the user typed; ERR_INVALID when it is not UTF-8. `what` names it. */
int api_set_str(json_t *body, const char *key, const char *value, const char *what,
    struct err *err) ERR_CHECK;

static inline void
api_json_cleanup(json_t **v)
{
	json_decref(*v);
}
#define AUTO_JSON __attribute__((cleanup(api_json_cleanup)))

#endif
