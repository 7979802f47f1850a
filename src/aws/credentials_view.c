/* SPDX-License-Identifier: Apache-2.0 */
/* Environment and files as botocore looks at them: a profile is its section of the configuration file, and over
   that its section of the credentials file (full_config in session.py). */
#include <ctype.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "aws/credentials_internal.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

static const char *
process_getenv(const char *name)
{
	return getenv(name);
}

const char *
credentials_view_env(const struct credentials_view *v, const char *name)
{
	const char *s = v->getenv(name);

	return s && *s ? s : NULL;
}

char *
credentials_view_path(const struct credentials_view *v, const char *path)
{
	const char *home = credentials_view_env(v, "HOME");
	const struct passwd *pw;

	if (strncmp(path, "~/", 2) != 0)
		return xstrdup(path);
	if (!home) {
		pw = getpwuid(geteuid());
		home = pw ? pw->pw_dir : "/";
	}
	return xasprintf("%s%s", home, path + 1);
}

/* A file that may not be read is as good as not there, as for botocore; but it is remembered, because that
   is what a person who finds no credentials wants to know. */
static int
load_file(struct credentials_view *v, const char *given, const char *variable,
    const char *standard, enum credentials_file_kind kind, struct credentials_file **ret,
    struct err *err)
{
	const char *s = given ? given : credentials_view_env(v, variable);
	AUTO_FREE char *path = credentials_view_path(v, s ? s : standard);
	struct err why;

	if (credentials_file_read(path, kind, ret, &why) == 0 ||
	    why.code == ERR_NOT_FOUND)
		return 0;
	if (why.code == ERR_NOT_PERMITTED) {
		v->unreadable = why;
		return 0;
	}
	*err = why;
	return -1;
}

bool
credentials_view_has_profile(const struct credentials_view *v, const char *name)
{
	return credentials_file_profile(v->shared, name) ||
	       credentials_file_profile(v->config, name);
}

const char *
credentials_view_profile_get(
    const struct credentials_view *v, const char *profile, const char *name)
{
	const char *s = credentials_file_get(
	    v->shared, credentials_file_profile(v->shared, profile), NULL, name);

	return s ? s
		 : credentials_file_get(v->config,
		       credentials_file_profile(v->config, profile), NULL, name);
}

static int
check_profile(const struct credentials_view *v, struct err *err)
{
	if (!v->profile_asked || credentials_view_has_profile(v, v->profile))
		return 0;
	if (v->unreadable.code != ERR_NONE) {
		*err = v->unreadable;
		return err_wrap(err, "profile '%s'", v->profile);
	}
	err_set(err, ERR_NOT_FOUND,
	    "profile '%s' is in no AWS configuration or credentials file", v->profile);
	return err_hint(err, "`aws configure list-profiles` lists those there are");
}

int
credentials_view_load(const char *profile, const char *config_file,
    const char *shared_file, credentials_getenv_fn getenv_fn,
    struct credentials_view *ret, struct err *err)
{
	struct credentials_view v = {.getenv = getenv_fn ? getenv_fn : process_getenv};
	const char *name = profile;

	name = name ? name : credentials_view_env(&v, "AWS_DEFAULT_PROFILE");
	name = name ? name : credentials_view_env(&v, "AWS_PROFILE");
	v.profile_named = profile != NULL;
	v.profile_asked = name != NULL;
	v.profile = xstrdup(name ? name : "default");
	if (load_file(&v, config_file, "AWS_CONFIG_FILE", "~/.aws/config",
		CREDENTIALS_FILE_CONFIG, &v.config, err) < 0 ||
	    load_file(&v, shared_file, "AWS_SHARED_CREDENTIALS_FILE",
		"~/.aws/credentials", CREDENTIALS_FILE_SHARED, &v.shared, err) < 0 ||
	    check_profile(&v, err) < 0) {
		credentials_view_fini(&v);
		return -1;
	}
	*ret = v;
	return 0;
}

void
credentials_view_fini(struct credentials_view *v)
{
	credentials_file_free(v->config);
	credentials_file_free(v->shared);
	free(v->profile);
	*v = (struct credentials_view){0};
}

const char *
credentials_view_get(const struct credentials_view *v, const char *name)
{
	return credentials_view_profile_get(v, v->profile, name);
}

const char *
credentials_view_region(const struct credentials_view *v)
{
	const char *s = credentials_view_env(v, "AWS_REGION");

	s = s ? s : credentials_view_env(v, "AWS_DEFAULT_REGION");
	s = s ? s : credentials_view_get(v, "region");
	return s && *s ? s : NULL;
}

char *
credentials_view_ca_bundle(const struct credentials_view *v)
{
	const char *s = credentials_view_env(v, "AWS_CA_BUNDLE");

	s = s ? s : credentials_view_get(v, "ca_bundle");
	return s && *s ? credentials_view_path(v, s) : NULL;
}

/* "ec2-instance-connect" → "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT" with upper, "ec2_instance_connect" without. */
static char *
service_key(const char *prefix, const char *service, bool upper)
{
	char *s = xasprintf("%s%s", prefix, service);
	int (*to)(int) = upper ? toupper : tolower;

	for (char *c = s + strlen(prefix); *c; c++)
		*c = *c == '-' || *c == ' ' ? '_' : (char)to((unsigned char)*c);
	return s;
}

static bool
is_true(const char *s)
{
	return s && strcasecmp(s, "true") == 0;
}

const char *
credentials_view_endpoint_url(const struct credentials_view *v, const char *service)
{
	AUTO_FREE char *variable = service_key("AWS_ENDPOINT_URL_", service, true);
	AUTO_FREE char *group = service_key("", service, false);
	const char *services = credentials_view_get(v, "services");
	const char *url;

	if (is_true(credentials_view_env(v, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) ||
	    is_true(credentials_view_get(v, "ignore_configured_endpoint_urls")))
		return NULL;
	url = credentials_view_env(v, variable);
	url = url ? url : credentials_view_env(v, "AWS_ENDPOINT_URL");
	if (!url && services)
		url = credentials_file_get(v->config,
		    credentials_file_services(v->config, services), group,
		    "endpoint_url");
	url = url ? url : credentials_view_get(v, "endpoint_url");
	return url && *url ? url : NULL;
}
