/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "aws/credentials_internal.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

#define TOKEN_FILE_MAX (32u << 10) /* STS takes tokens of 20,000 characters */

void
credentials_key_wipe(char *s)
{
	if (s)
		OPENSSL_cleanse(s, strlen(s));
	free(s);
}

void
credentials_key_set(struct owned_key *k, const char *id, const char *secret,
    const char *token, int64_t expires_at)
{
	struct owned_key fresh = {
	    .access_key_id = xstrdup(id),
	    .secret_access_key = xstrdup(secret),
	    .session_token = token && *token ? xstrdup(token) : NULL,
	    .expires_at = expires_at,
	};

	credentials_key_move(k, &fresh);
}

void
credentials_key_move(struct owned_key *to, struct owned_key *from)
{
	struct owned_key taken = *from;

	*from = (struct owned_key){0};
	credentials_key_fini(to);
	*to = taken;
}

void
credentials_key_fini(struct owned_key *k)
{
	credentials_key_wipe(k->access_key_id);
	credentials_key_wipe(k->secret_access_key);
	credentials_key_wipe(k->session_token);
	*k = (struct owned_key){0};
}

static bool
is_printable(const char *s, size_t max)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (n == max || s[n] <= ' ' || s[n] > '~')
			return false;
	return n > 0;
}

bool
credentials_key_is_header(const char *s)
{
	const char *c = s;

	while (*c >= ' ' && *c <= '~')
		c++;
	return *c == '\0' && c > s;
}

int
credentials_key_check(const struct owned_key *k, const char *who, struct err *err)
{
	const char *bad = NULL;

	if (!is_printable(k->access_key_id, 128))
		bad = "access key id";
	else if (!is_printable(k->secret_access_key, 128))
		bad = "secret access key";
	else if (k->session_token && !is_printable(k->session_token, 16u << 10))
		bad = "session token";
	if (!bad)
		return 0;
	return err_set(err, ERR_INVALID,
	    "%s: the %s is empty, too long or holds a character it cannot have", who,
	    bad);
}

/* `n` digits, no more and no less. */
static bool
digits(const char **s, int n, int *ret)
{
	*ret = 0;
	for (; n > 0; n--, (*s)++) {
		if (!isdigit((unsigned char)**s))
			return false;
		*ret = *ret * 10 + (**s - '0');
	}
	return true;
}

/* "Z", "+00:00", "-0130": in minutes. */
static bool
zone(const char *s, int *ret)
{
	int h, m;
	bool west = *s == '-';

	*ret = 0;
	if ((*s == 'Z' || *s == 'z') && s[1] == '\0')
		return true;
	if (*s != '+' && *s != '-')
		return false;
	s++;
	if (!digits(&s, 2, &h))
		return false;
	s += *s == ':';
	if (!digits(&s, 2, &m) || *s || h > 23 || m > 59)
		return false;
	*ret = (h * 60 + m) * (west ? -1 : 1);
	return true;
}

static bool
read_time(const char *s, struct tm *tm, int *minutes)
{
	if (!digits(&s, 4, &tm->tm_year) || *s++ != '-' || !digits(&s, 2, &tm->tm_mon) ||
	    *s++ != '-' || !digits(&s, 2, &tm->tm_mday))
		return false;
	if (*s != 'T' && *s != 't' && *s != ' ')
		return false;
	s++;
	if (!digits(&s, 2, &tm->tm_hour) || *s++ != ':' || !digits(&s, 2, &tm->tm_min) ||
	    *s++ != ':' || !digits(&s, 2, &tm->tm_sec))
		return false;
	if (*s == '.')
		s += 1 + strspn(s + 1, "0123456789");
	if (tm->tm_mon < 1 || tm->tm_mon > 12 || tm->tm_mday < 1 || tm->tm_mday > 31 ||
	    tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60)
		return false;
	tm->tm_year -= 1900;
	tm->tm_mon--;
	return zone(s, minutes);
}

int
credentials_key_time(const char *s, int64_t *ret_wall_ms, struct err *err)
{
	struct tm tm = {0};
	int minutes;

	if (!read_time(s, &tm, &minutes))
		return err_set(
		    err, ERR_INVALID, "no time of the form 2026-11-22T05:42:33Z");
	*ret_wall_ms = ((int64_t)timegm(&tm) - (int64_t)minutes * 60) * 1000;
	if (*ret_wall_ms <= 0)
		*ret_wall_ms = 1; /* 0 is kept for "never" */
	return 0;
}

/* ---- JSON ---- */

/* jansson copies what it reads several times over; for the time of one call its memory is wiped when freed. */
static void
wiping_free(void *p)
{
	if (p)
		OPENSSL_cleanse(p, malloc_usable_size(p));
	free(p);
}

static const char *
text_of(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

static int
read_object(const json_t *o, enum credentials_json kind, const char *who,
    struct owned_key *ret, struct err *err)
{
	bool process = kind == CREDENTIALS_JSON_PROCESS;
	const char *id = text_of(o, "AccessKeyId"),
		   *secret = text_of(o, "SecretAccessKey");
	const char *token = text_of(o, process ? "SessionToken" : "Token");
	const char *expires = text_of(o, "Expiration"), *code = text_of(o, "Code");
	int64_t expires_at = 0;

	if (process && json_integer_value(json_object_get(o, "Version")) != 1)
		return err_set(
		    err, ERR_INVALID, "%s: its reply is not of Version 1", who);
	if (!process && !id && code && is_printable(code, 80))
		return err_set(err, ERR_NOT_PERMITTED, "%s: %s", who, code);
	if (!id || !secret || (!process && (!token || !expires)))
		return err_set(err, ERR_INVALID, "%s: its reply holds no %s", who,
		    !id	      ? "AccessKeyId"
		    : !secret ? "SecretAccessKey"
		    : !token  ? "Token"
			      : "Expiration");
	if (expires && credentials_key_time(expires, &expires_at, err) < 0)
		return err_wrap(err, "%s: Expiration", who);
	credentials_key_set(ret, id, secret, token, expires_at);
	if (credentials_key_check(ret, who, err) < 0) {
		credentials_key_fini(ret);
		return -1;
	}
	return 0;
}

int
credentials_key_from_json(const char *data, size_t n, enum credentials_json kind,
    const char *who, struct owned_key *ret, struct err *err)
{
	json_malloc_t before_malloc;
	json_free_t before_free;
	struct owned_key key = {0};
	json_t *o;
	int r;

	if (n > CREDENTIALS_REPLY_MAX)
		return err_set(err, ERR_INVALID, "%s: its reply is too long", who);
	json_get_alloc_funcs(&before_malloc, &before_free);
	json_set_alloc_funcs(malloc, wiping_free);
	o = json_loadb(data, n, 0, NULL);
	if (json_is_object(o))
		r = read_object(o, kind, who, &key, err);
	else
		r = err_set(err, ERR_INVALID, "%s: its reply is not a JSON object", who);
	json_decref(o);
	json_set_alloc_funcs(before_malloc, before_free);
	if (r == 0)
		credentials_key_move(ret, &key);
	return r;
}

/* ---- tokens in files ---- */

static ssize_t
read_some(int fd, char *out, size_t max)
{
	size_t n = 0;
	ssize_t r;

	while (n < max) {
		r = read(fd, out + n, max - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	return (ssize_t)n;
}

int
credentials_key_read_token(const char *path, char **ret, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *s;
	ssize_t n;

	if (fd < 0)
		return err_errno(err, errno, "token file %s", path);
	s = xcalloc(1, TOKEN_FILE_MAX + 2);
	n = read_some(fd, s, TOKEN_FILE_MAX + 1);
	if (n < 0) {
		err_errno(err, errno, "token file %s", path);
	} else if (n > (ssize_t)TOKEN_FILE_MAX) {
		err_set(err, ERR_INVALID, "token file %s: longer than %u KiB", path,
		    TOKEN_FILE_MAX >> 10);
	} else {
		while (n > 0 && strchr(" \t\r\n", s[n - 1]))
			s[--n] = '\0';
		if (credentials_key_is_header(s) && strlen(s) == (size_t)n) {
			*ret = xstrdup(s);
			OPENSSL_cleanse(s, TOKEN_FILE_MAX);
			free(s);
			return 0;
		}
		err_set(
		    err, ERR_INVALID, "token file %s: it does not hold one token", path);
	}
	OPENSSL_cleanse(s, TOKEN_FILE_MAX);
	free(s);
	return -1;
}
