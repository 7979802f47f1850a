/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which key is chosen, in botocore's order (create_credential_resolver() in credentials.py, 1.29):
 *
 *   environment (unless the caller named a profile) → role of the profile → web identity → SSO (refused) →
 *   credentials file → credential_process → configuration file → container → instance metadata
 *
 * botocore's two oldest sources, AWS_CREDENTIAL_FILE and ~/.boto, are left out. An assume-role profile leads, by
 * source_profile, to another one: the chain is followed here, and what is left is a base and a row of roles.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aws/credentials_internal.h"
#include "base/xalloc.h"

#define CONTAINER_HOST "http://169.254.170.2"
#define CONTAINER_ATTEMPTS 3
#define IMDS_URL "http://169.254.169.254/"
#define IMDS_URL_IPV6 "http://[fd00:ec2::254]/"

struct planner {
	const struct credentials_view *v;
	struct credentials_plan *plan;
	const char *profile; /* the one that is looked at */
	bool environment;    /* whether its variables count */
	struct err *err;
};

/* What a source says of itself. */
enum found { FOUND_NOT, FOUND, FOUND_ERROR };

typedef enum found (*source_fn)(struct planner *p);

static enum found
refuse(struct planner *p, const char *why)
{
	err_set(p->err, ERR_INVALID, "AWS profile '%s': %s", p->profile, why);
	return FOUND_ERROR;
}

/* NULL: not set. Empty is set, for what botocore only looks up. */
static const char *
env(const struct planner *p, const char *name)
{
	return p->v->getenv(name);
}

static const char *
env_set(const struct planner *p, const char *name)
{
	return credentials_view_env(p->v, name);
}

static bool
is_true(const char *s)
{
	return s && strcasecmp(s, "true") == 0;
}

static const char *
get(const struct planner *p, const char *name)
{
	return credentials_view_profile_get(p->v, p->profile, name);
}

static void
say_source(struct planner *p, enum credentials_base base, const char *what)
{
	p->plan->base = base;
	free(p->plan->source);
	p->plan->source = what ? xstrdup(what) : xasprintf("profile '%s'", p->profile);
}

static enum found
found_static(struct planner *p, const char *id, const char *secret, const char *token,
    int64_t expires_at)
{
	credentials_key_set(&p->plan->key, id, secret, token, expires_at);
	if (credentials_key_check(&p->plan->key, p->plan->source, p->err) < 0)
		return FOUND_ERROR;
	return FOUND;
}

static enum found
from_environment(struct planner *p)
{
	const char *id = env_set(p, "AWS_ACCESS_KEY_ID");
	const char *secret = env_set(p, "AWS_SECRET_ACCESS_KEY");
	const char *token = env_set(p, "AWS_SECURITY_TOKEN");
	const char *expires = env_set(p, "AWS_CREDENTIAL_EXPIRATION");
	int64_t expires_at = 0;

	if (!id)
		return FOUND_NOT;
	if (!secret) {
		err_set(p->err, ERR_INVALID,
		    "AWS_ACCESS_KEY_ID is set in the environment, AWS_SECRET_ACCESS_KEY "
		    "is not");
		return FOUND_ERROR;
	}
	if (expires && credentials_key_time(expires, &expires_at, p->err) < 0) {
		err_wrap(p->err, "AWS_CREDENTIAL_EXPIRATION in the environment");
		return FOUND_ERROR;
	}
	say_source(p, CREDENTIALS_STATIC, "environment");
	return found_static(
	    p, id, secret, token ? token : env_set(p, "AWS_SESSION_TOKEN"), expires_at);
}

/* As botocore: one that is set and empty hides the profile's. */
static const char *
env_or_profile(const struct planner *p, const char *variable, const char *name)
{
	const char *s = p->environment ? env(p, variable) : NULL;

	return s ? s : get(p, name);
}

static enum found
from_web_identity(struct planner *p)
{
	const char *file =
	    env_or_profile(p, "AWS_WEB_IDENTITY_TOKEN_FILE", "web_identity_token_file");
	const char *arn = env_or_profile(p, "AWS_ROLE_ARN", "role_arn");
	const char *session =
	    env_or_profile(p, "AWS_ROLE_SESSION_NAME", "role_session_name");

	if (!file || !*file)
		return FOUND_NOT;
	if (!arn || !*arn)
		return refuse(p, "a web identity's token file is given, but no role_arn");
	say_source(p, CREDENTIALS_WEB_IDENTITY, NULL);
	p->plan->token_file = credentials_view_path(p->v, file);
	p->plan->web.arn = xstrdup(arn);
	p->plan->web.session_name = xstrdup_null(session);
	return FOUND;
}

static enum found
from_sso(struct planner *p)
{
	if (!get(p, "sso_role_name") && !get(p, "sso_account_id"))
		return FOUND_NOT;
	refuse(p, "single sign-on needs a browser, and a daemon has none");
	err_hint(p->err,
	    "in another profile: credential_process = aws configure export-credentials "
	    "--profile %.40s --format process",
	    p->profile);
	return FOUND_ERROR;
}

static enum found
from_file(struct planner *p, const struct credentials_file *f)
{
	const struct credentials_section *s = credentials_file_profile(f, p->profile);
	const char *id = credentials_file_get(f, s, NULL, "aws_access_key_id");
	const char *secret = credentials_file_get(f, s, NULL, "aws_secret_access_key");
	const char *token = credentials_file_get(f, s, NULL, "aws_security_token");

	if (!id)
		return FOUND_NOT;
	if (!secret)
		return refuse(
		    p, "aws_access_key_id is given, aws_secret_access_key is not");
	say_source(p, CREDENTIALS_STATIC, NULL);
	if (!token)
		token = credentials_file_get(f, s, NULL, "aws_session_token");
	return found_static(p, id, secret, token, 0);
}

static enum found
from_shared(struct planner *p)
{
	return from_file(p, p->v->shared);
}

static enum found
from_config(struct planner *p)
{
	return from_file(p, p->v->config);
}

static enum found
from_process(struct planner *p)
{
	const char *command = get(p, "credential_process");

	if (!command)
		return FOUND_NOT;
	say_source(p, CREDENTIALS_PROCESS, NULL);
	if (credentials_words_split(
		command, CREDENTIALS_WORDS_MAX, &p->plan->command, p->err) < 0) {
		err_wrap(p->err, "AWS profile '%s': credential_process", p->profile);
		return FOUND_ERROR;
	}
	if (p->plan->command.n == 0)
		return refuse(p, "credential_process is empty");
	return FOUND;
}

static enum found
from_container(struct planner *p)
{
	const char *relative = env(p, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = env(p, "AWS_CONTAINER_CREDENTIALS_FULL_URI");

	if (!relative && !full)
		return FOUND_NOT;
	say_source(p, CREDENTIALS_CONTAINER, "container endpoint");
	p->plan->url =
	    relative ? xasprintf("%s%s", CONTAINER_HOST, relative) : xstrdup(full);
	if (credentials_url_check(p->plan->url, p->err) < 0) {
		err_wrap(p->err, "%s",
		    relative ? "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
			     : "AWS_CONTAINER_CREDENTIALS_FULL_URI");
		return FOUND_ERROR;
	}
	p->plan->token_file =
	    xstrdup_null(env_set(p, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"));
	if (!p->plan->token_file)
		p->plan->token =
		    xstrdup_null(env_set(p, "AWS_CONTAINER_AUTHORIZATION_TOKEN"));
	p->plan->attempts = CONTAINER_ATTEMPTS;
	return FOUND;
}

static const char *
imds_setting(const struct planner *p, const char *variable, const char *name)
{
	const char *s = env_set(p, variable);

	return s ? s : credentials_view_get(p->v, name);
}

static int
imds_number(const struct planner *p, const char *variable, const char *name, int max)
{
	const char *s = imds_setting(p, variable, name);
	char *end;
	long n;

	if (!s)
		return 1;
	n = strtol(s, &end, 10);
	return *end || n < 1 ? 1 : n > max ? max : (int)n;
}

static char *
imds_url(const struct planner *p, bool ipv6)
{
	const char *url = imds_setting(
	    p, "AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");

	if (!url)
		return xstrdup(ipv6 ? IMDS_URL_IPV6 : IMDS_URL);
	return xasprintf("%s%s", url, *url && url[strlen(url) - 1] == '/' ? "" : "/");
}

static enum found
from_imds(struct planner *p)
{
	const char *mode = imds_setting(p, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
	    "ec2_metadata_service_endpoint_mode");
	bool ipv6 = mode ? strcasecmp(mode, "ipv6") == 0
			 : is_true(imds_setting(p, "AWS_IMDS_USE_IPV6", "imds_use_ipv6"));

	if (is_true(env(p, "AWS_EC2_METADATA_DISABLED")))
		return FOUND_NOT;
	if (mode && !ipv6 && strcasecmp(mode, "ipv4") != 0)
		return refuse(p, "the metadata service's mode is IPv4 or IPv6");
	say_source(p, CREDENTIALS_IMDS, "instance metadata");
	p->plan->url = imds_url(p, ipv6);
	p->plan->timeout_ms = 1000 * imds_number(p, "AWS_METADATA_SERVICE_TIMEOUT",
					 "metadata_service_timeout", 60);
	p->plan->attempts = imds_number(
	    p, "AWS_METADATA_SERVICE_NUM_ATTEMPTS", "metadata_service_num_attempts", 10);
	return FOUND;
}

static enum found
first_of(struct planner *p, const source_fn *sources)
{
	enum found f = FOUND_NOT;

	for (; *sources && f == FOUND_NOT; sources++)
		f = (*sources)(p);
	return f;
}

/* ---- roles ---- */

static bool
has_static(const struct planner *p)
{
	return get(p, "aws_access_key_id") || get(p, "aws_secret_access_key");
}

static bool
has_role(const struct planner *p)
{
	/* a web identity's profile also has a role_arn, and is not ours, wherever it is in a chain */
	return get(p, "role_arn") && !get(p, "web_identity_token_file");
}

static const source_fn profile_sources[] = {
    from_web_identity, from_sso, from_shared, from_process, from_config, NULL};

static enum found
from_named_source(struct planner *p, const char *name)
{
	static const struct {
		const char *name;
		source_fn fn;
	} sources[] = {
	    {"Environment", from_environment},
	    {"EcsContainer", from_container},
	    {"Ec2InstanceMetadata", from_imds},
	};
	enum found f;

	for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
		if (strcmp(sources[i].name, name) != 0)
			continue;
		f = sources[i].fn(p);
		return f == FOUND_NOT
			   ? refuse(p, "its credential_source has no credentials")
			   : f;
	}
	refuse(p, "unknown credential_source");
	err_hint(p->err, "Environment, EcsContainer or Ec2InstanceMetadata");
	return FOUND_ERROR;
}

static enum found
add_role(struct planner *p)
{
	const char *duration = get(p, "duration_seconds");
	struct credentials_role *r;
	char *end;

	if (p->plan->n_roles == CREDENTIALS_ROLES_MAX)
		return refuse(p, "its chain of source_profile is too long");
	if (get(p, "mfa_serial")) {
		refuse(p, "its role needs a code from a person (mfa_serial)");
		err_hint(p->err,
		    "a daemon cannot ask for one: use a role without MFA, or "
		    "credential_process");
		return FOUND_ERROR;
	}
	r = &p->plan->roles[p->plan->n_roles++];
	r->arn = xstrdup(get(p, "role_arn"));
	r->session_name = xstrdup_null(get(p, "role_session_name"));
	r->external_id = xstrdup_null(get(p, "external_id"));
	if (duration) {
		r->duration_s = strtol(duration, &end, 10);
		if (*end || end == duration || r->duration_s < 0)
			r->duration_s = 0; /* botocore, too, leaves it out then */
	}
	return FOUND;
}

/* Whether the chain may go on to `next`: it exists, and was not passed before. A profile may be its own source
   when it holds a key. */
static enum found
check_source(struct planner *p, const char *next, const char *const *visited, int n)
{
	struct planner at_next = *p;

	at_next.profile = next;
	if (!credentials_view_has_profile(p->v, next))
		return refuse(p, "its source_profile does not exist");
	for (int i = 0; i < n; i++)
		if (strcmp(visited[i], next) == 0 &&
		    (strcmp(next, p->profile) != 0 || !has_static(&at_next)))
			return refuse(p, "its chain of source_profile is a circle");
	return FOUND;
}

/* The chain's roles are met last one first, and are put in the order they are assumed at the end. */
static void
reverse_roles(struct credentials_plan *plan)
{
	for (int i = 0, j = plan->n_roles - 1; i < j; i++, j--) {
		struct credentials_role r = plan->roles[i];

		plan->roles[i] = plan->roles[j];
		plan->roles[j] = r;
	}
}

static enum found
from_source_profile(struct planner *p)
{
	enum found f = first_of(p, profile_sources);

	return f == FOUND_NOT
		   ? refuse(p, "it is a source_profile, and has no credentials")
		   : f;
}

static enum found
from_role(struct planner *p)
{
	const char *visited[CREDENTIALS_ROLES_MAX + 2] = {p->profile};
	int n = 1;

	if (!has_role(p))
		return FOUND_NOT;
	for (;;) {
		const char *source = get(p, "credential_source");
		const char *next = get(p, "source_profile");

		if (add_role(p) != FOUND)
			return FOUND_ERROR;
		if (source && next)
			return refuse(
			    p, "source_profile and credential_source exclude each other");
		if (!source && !next)
			return refuse(
			    p, "role_arn needs source_profile or credential_source");
		if (source) {
			reverse_roles(p->plan);
			return from_named_source(p, source);
		}
		if (check_source(p, next, visited, n) != FOUND)
			return FOUND_ERROR;
		visited[n++] = next;
		p->profile = next;
		p->environment = false;
		if (has_static(p) || !has_role(p)) {
			reverse_roles(p->plan);
			return from_source_profile(p);
		}
	}
}

static enum found
from_last_resort(struct planner *p)
{
	enum found f = from_imds(p);

	p->plan->last_resort = f == FOUND;
	return f;
}

static const source_fn all_sources[] = {
    from_environment,
    from_role,
    from_web_identity,
    from_sso,
    from_shared,
    from_process,
    from_config,
    from_container,
    from_last_resort,
    NULL,
};

int
credentials_plan_make(
    const struct credentials_view *v, struct credentials_plan **ret, struct err *err)
{
	struct planner p = {
	    .v = v,
	    .plan = xnew(struct credentials_plan),
	    .profile = v->profile,
	    .environment = !v->profile_named,
	    .err = err,
	};
	enum found f = first_of(&p, all_sources + (v->profile_named ? 1 : 0));

	if (f == FOUND) {
		*ret = p.plan;
		return 0;
	}
	credentials_plan_free(p.plan);
	if (f == FOUND_NOT)
		err_set(err, ERR_NOT_FOUND, "no AWS credentials for profile '%s'",
		    v->profile);
	return -1;
}

static void
role_fini(struct credentials_role *r)
{
	free(r->arn);
	free(r->session_name);
	free(r->external_id);
}

void
credentials_plan_free(struct credentials_plan *p)
{
	if (!p)
		return;
	free(p->source);
	credentials_key_fini(&p->key);
	credentials_words_free(&p->command); /* some put a password in it */
	role_fini(&p->web);
	free(p->token_file);
	credentials_key_wipe(p->token);
	free(p->url);
	for (int i = 0; i < p->n_roles; i++)
		role_fini(&p->roles[i]);
	free(p);
}
