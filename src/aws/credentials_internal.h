/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_CREDENTIALS_INTERNAL_H
#define AWS_CREDENTIALS_INTERNAL_H

/*
 * What the files of the credentials module share. credentials_plan.c decides from environment and files alone
 * (credentials_view.c) where a key comes from: its plan is a base and the roles to assume from there. credentials.c carries plans
 * out and keeps the key. credentials_process.c, credentials_http.c and credentials_sts.c fetch a key each
 * in their way; credentials_file.c reads the files, credentials_key.c holds secrets and reads replies.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/map.h"

struct clock;
struct fetcher;
struct uv_loop_s;

/* ---- credentials_key.c: secrets in memory, and as JSON ---- */

struct owned_key {
	char *access_key_id; /* all owned, wiped when freed */
	char *secret_access_key;
	char *session_token; /* NULL: none */
	int64_t expires_at;  /* wall ms; 0: never */
};

void credentials_key_set(struct owned_key *k, const char *id, const char *secret,
    const char *token, int64_t expires_at);
void credentials_key_move(struct owned_key *to, struct owned_key *from);
void credentials_key_fini(struct owned_key *k);

/* free() of a string that is a secret; NULL is nothing. */
void credentials_key_wipe(char *s);

/* Whether all of it are characters that a header may carry, and at most as many as AWS's own bound
   (128, 128, 16 KiB): what comes from outside is checked before it is used. */
int credentials_key_check(
    const struct owned_key *k, const char *who, struct err *err) ERR_CHECK;

/* Printable ASCII and blanks, at least one: nothing that would begin another header. */
bool credentials_key_is_header(const char *s);

/* "2026-11-22T05:42:33Z", also with a blank for the T, a fraction, or an offset. ERR_INVALID: anything else. */
int credentials_key_time(const char *s, int64_t *ret_wall_ms, struct err *err) ERR_CHECK;

#define CREDENTIALS_REPLY_MAX (64u << 10)

enum credentials_json {
	CREDENTIALS_JSON_PROCESS,  /* Version 1, SessionToken, Expiration optional */
	CREDENTIALS_JSON_METADATA, /* Token, Expiration; Code says what is wrong */
};

/* One object as credential_process, the container endpoint or the metadata service print it. `who` begins the
   messages. ERR_NOT_PERMITTED: it says that there is no key (Code); ERR_INVALID: it is not such an object. */
int credentials_key_from_json(const char *data, size_t n, enum credentials_json kind,
    const char *who, struct owned_key *ret, struct err *err) ERR_CHECK;

/* A file that holds one token, blanks at its end cut off; at most 32 KiB. *ret: credentials_key_wipe(). */
int credentials_key_read_token(const char *path, char **ret, struct err *err) ERR_CHECK;

/* ---- credentials_file.c: the ini files, as Python's configparser reads them for botocore ---- */

#define CREDENTIALS_FILE_MAX (1u << 20)
#define CREDENTIALS_SECTIONS_MAX 8192
#define CREDENTIALS_SETTINGS_MAX 512 /* of one section, nested ones counted too */

struct credentials_setting {
	const char *group; /* NULL, or the setting it is nested in; into text, as all */
	const char *name;  /* lower case, unless nested */
	const char *value;
};

struct credentials_section {
	const char *name;
	char *profile;			      /* owned; NULL: not a profile */
	char *services;			      /* owned; NULL: not a services section */
	struct credentials_setting *settings; /* owned */
	int n_settings;
};

enum credentials_file_kind { CREDENTIALS_FILE_CONFIG, CREDENTIALS_FILE_SHARED };

struct credentials_file {
	char *path;
	char *text; /* owned, wiped: all names and values point into it */
	size_t text_len;
	struct credentials_section *sections; /* owned */
	int n_sections;
	bool others_may_read;
};

/* `path` is for messages, which name a line and never quote it. ERR_INVALID: a line that is no setting, a
   section or setting twice, more than the bounds above. */
int credentials_file_parse(const char *path, enum credentials_file_kind kind,
    const char *data, size_t n, struct credentials_file **ret, struct err *err) ERR_CHECK;

/* Blocks on the disk. ERR_NOT_FOUND: there is no such regular file; ERR_NOT_PERMITTED: we may not read it. */
int credentials_file_read(const char *path, enum credentials_file_kind kind,
    struct credentials_file **ret, struct err *err) ERR_CHECK;
void credentials_file_free(struct credentials_file *f);

/* The last section that bears the name; NULL: none, or f is NULL. */
const struct credentials_section *credentials_file_profile(
    const struct credentials_file *f, const char *name);
const struct credentials_section *credentials_file_services(
    const struct credentials_file *f, const char *name);

/* NULL: not there. A setting of [DEFAULT] is one of every section. */
const char *credentials_file_get(const struct credentials_file *f,
    const struct credentials_section *s, const char *group, const char *name);

/* ---- credentials_words.c ---- */

/* Words as a POSIX shell cuts them, quotes and backslashes taken away, nothing expanded: Python's shlex.split().
   *ret is one block to be wiped and freed by credentials_words_free(). ERR_INVALID: an open quote, or more than
   `max` words. */
#define CREDENTIALS_WORDS_MAX 128
struct credentials_words {
	char **argv; /* NULL-terminated */
	int n;
	char *text;
	size_t text_len;
};
int credentials_words_split(
    const char *s, int max, struct credentials_words *ret, struct err *err) ERR_CHECK;
void credentials_words_free(struct credentials_words *w);

/* ---- credentials_view.c: environment and files ---- */

typedef const char *(*credentials_getenv_fn)(const char *name);

/* Environment and files, read at one moment. */
struct credentials_view {
	credentials_getenv_fn getenv;
	char *profile;	    /* owned */
	bool profile_named; /* by the caller: the environment's keys do not count */
	bool profile_asked; /* by caller or environment: it must exist */
	struct credentials_file *config; /* owned; NULL: not there, or not to be read */
	struct credentials_file *shared;
	struct err unreadable; /* of a file that is there; ERR_NONE: none */
};

/* NULLs as in struct credentials_options. Blocks on the disk. ERR_INVALID: a file makes no sense;
   ERR_NOT_FOUND: the profile that was asked for is in none. */
int credentials_view_load(const char *profile, const char *config_file,
    const char *shared_file, credentials_getenv_fn getenv, struct credentials_view *ret,
    struct err *err) ERR_CHECK;
void credentials_view_fini(struct credentials_view *v);

/* NULL: not set, or empty. */
const char *credentials_view_env(const struct credentials_view *v, const char *name);

/* Of a profile, credentials file before configuration file; NULL: not there. The second: of the view's own. */
const char *credentials_view_profile_get(
    const struct credentials_view *v, const char *profile, const char *name);
const char *credentials_view_get(const struct credentials_view *v, const char *name);
bool credentials_view_has_profile(const struct credentials_view *v, const char *name);

/* An owned copy, with "~/" made the home directory. */
char *credentials_view_path(const struct credentials_view *v, const char *path);

const char *credentials_view_region(const struct credentials_view *v);
char *credentials_view_ca_bundle(const struct credentials_view *v); /* owned */
const char *credentials_view_endpoint_url(
    const struct credentials_view *v, const char *service);

/* ---- credentials_plan.c: where a key comes from ---- */

enum credentials_base {
	CREDENTIALS_STATIC,
	CREDENTIALS_PROCESS,
	CREDENTIALS_WEB_IDENTITY,
	CREDENTIALS_CONTAINER,
	CREDENTIALS_IMDS,
};

struct credentials_role {
	char *arn; /* owned, as all */
	char *session_name;
	char *external_id;
	int64_t duration_s; /* 0: not given */
};

#define CREDENTIALS_ROLES_MAX 8

struct credentials_plan {
	enum credentials_base base;
	char *source;	      /* for messages: "environment", "profile 'dev'" */
	struct owned_key key; /* STATIC */
	struct credentials_words command; /* PROCESS; at least one */
	struct credentials_role web;	  /* WEB_IDENTITY */
	char *token_file; /* WEB_IDENTITY, CONTAINER: read before each call */
	char *token;	  /* CONTAINER: instead of token_file */
	char *url;	  /* CONTAINER; IMDS: ends in '/' */
	int timeout_ms;	  /* IMDS */
	int attempts;	  /* CONTAINER, IMDS */
	bool last_resort; /* IMDS, because nothing else is configured */
	struct credentials_role
	    roles[CREDENTIALS_ROLES_MAX]; /* in the order they are assumed */
	int n_roles;
};

/* ERR_INVALID: a profile that makes no sense, or asks for what we do not have; ERR_NOT_FOUND: nothing is
   configured, and the metadata service is turned off. */
int credentials_plan_make(const struct credentials_view *v, struct credentials_plan **ret,
    struct err *err) ERR_CHECK;
void credentials_plan_free(struct credentials_plan *p);

/* ---- credentials_url.c ---- */

/* Whether a container's full URI may be asked: https anywhere, http on this host and at the addresses that AWS
   gives to container agents. ERR_INVALID: it may not, or is no such URL. */
int credentials_url_check(const char *url, struct err *err) ERR_CHECK;

/* ---- fetching one key ---- */

struct credentials_io {
	struct uv_loop_s *uv;
	struct clock *clock;
	struct fetcher *fetcher;
};

/* The key is the callee's to move away; NULL when err is set. ERR_UNAVAILABLE is worth another attempt;
   ERR_NOT_FOUND: there is no key at that place. */
typedef void (*credentials_done_fn)(
    void *arg, struct owned_key *key, const struct err *err);

/* Each start that returns 0 leads to one `done`, later, unless it is cancelled. */

struct credentials_process;
int credentials_process_start(const struct credentials_io *io, char *const *argv,
    int timeout_ms, credentials_done_fn done, void *arg, struct credentials_process **ret,
    struct err *err) ERR_CHECK;
void credentials_process_cancel(struct credentials_process *p);

/* How long a key that the metadata service could not renew is used before it is asked again: this, and up to eight
   minutes more. Longer than any key is refreshed ahead. */
#define CREDENTIALS_EXTENSION_MS (17 * 60000)

/* The metadata service's session: kept between fetches. */
struct credentials_imds {
	char *token; /* owned, wiped */
	int64_t good_until_ms;
};

struct credentials_http;
int credentials_http_container(const struct credentials_io *io,
    const struct credentials_plan *plan, credentials_done_fn done, void *arg,
    struct credentials_http **ret, struct err *err) ERR_CHECK;
/* Cannot fail at once. */
void credentials_http_imds(const struct credentials_io *io,
    const struct credentials_plan *plan, struct credentials_imds *session,
    credentials_done_fn done, void *arg, struct credentials_http **ret);
void credentials_http_cancel(struct credentials_http *h);

struct credentials_sts;
struct credentials_sts_request {
	const struct credentials_role *role;
	const struct owned_key *key; /* NULL: by web identity */
	const char *token_file;	     /* of web identity */
	const char *endpoint;	     /* NULL: AWS's */
	const char *region;	     /* NULL: none */
};
int credentials_sts_start(const struct credentials_io *io,
    const struct credentials_sts_request *req, credentials_done_fn done, void *arg,
    struct credentials_sts **ret, struct err *err) ERR_CHECK;
void credentials_sts_cancel(struct credentials_sts *s);

#endif
