/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_CREDENTIALS_H
#define AWS_CREDENTIALS_H

/*
 * Where the keys come from, in the order of botocore's own chain (botocore/credentials.py): environment,
 * assume-role by profile, web identity, shared credentials file, credential_process, shared configuration file,
 * container endpoint, instance metadata (version 2 only). A profile that was named leaves the environment's
 * keys out. Keys that expire are fetched anew ahead of it (15 minutes before, tried; 10 minutes before, needed),
 * by one request however many callers wait. Secrets are never logged, and wiped when they are freed.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct clock;
struct credentials;
struct fetcher;
struct uv_loop_s;

struct credentials_options {
	struct uv_loop_s *uv; /* borrowed, as all */
	struct clock *clock;
	struct fetcher *fetcher;
	const char *profile; /* NULL: $AWS_PROFILE, else "default" */
	const char *region;  /* for STS; NULL: from environment or profile */
	/* For tests, and for a daemon that has read the files before it gave up its privileges. NULL: the
	   environment's, or ~/.aws/... */
	const char *config_file;
	const char *shared_credentials_file;
	const char *(*getenv)(const char *name); /* NULL: the process's */
};

/* Asks nobody yet. */
struct credentials *credentials_new(const struct credentials_options *opt);

/* Callers that still wait get ERR_CANCELLED before this returns. */
void credentials_free(struct credentials *c);

struct credentials_key {
	const char *access_key_id;
	const char *secret_access_key;
	const char *session_token; /* NULL: none */
	int64_t expires_at;	   /* wall ms; 0: never */
	const char *source;	   /* for messages: "environment", "profile dev", ... */
};

/* Valid during the call. ERR_NOT_FOUND: nobody has any, with a hint that says where to put them;
   ERR_NOT_PERMITTED: refused (a role, a file that all may read is not refused but warned of once);
   ERR_UNAVAILABLE: its source does not answer, and there is no older key that is still good; ERR_INVALID: a file,
   a profile or a source's reply makes no sense. May ask again; must not free the credentials. */
typedef void (*credentials_fn)(
    void *arg, const struct credentials_key *key, const struct err *err);

/* Calls fn once: from inside the call while a good key is at hand, else later. The caller must live until then or
   until credentials_free(). */
void credentials_get(struct credentials *c, credentials_fn fn, void *arg);

/* The service has said that this key is expired or unknown: the next get fetches anew (at most once in 30 s). */
void credentials_rejected(struct credentials *c, const char *access_key_id);

/* Of environment and profile, in botocore's order: AWS_REGION, AWS_DEFAULT_REGION, the profile's `region`; NULL: none.
   Valid as long as c. Reads files: blocks for that. */
const char *credentials_region(struct credentials *c);

/* Likewise the file of the authorities that servers are checked by: AWS_CA_BUNDLE, the profile's `ca_bundle`; NULL: the system's. It
   is for whoever makes the fetcher: fetcher_trust(). */
const char *credentials_ca_bundle(struct credentials *c);

/* Likewise for a service ("ec2"): AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL, then the profile's services section and
   endpoint_url, unless AWS_IGNORE_CONFIGURED_ENDPOINT_URLS; NULL: none. */
const char *credentials_endpoint_url(struct credentials *c, const char *service);

#endif
