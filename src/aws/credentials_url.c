/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a key may be asked for. AWS_CONTAINER_CREDENTIALS_FULL_URI comes with a token that is sent along: the SDKs'
 * rule (AWS SDKs reference guide, "Container credential provider") lets it be https, or http to this host and to
 * the agents of ECS and EKS.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "aws/credentials_internal.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

static bool
may_be_plain(const char *host)
{
	static const struct in6_addr eks = {
	    .s6_addr = {0xfd, 0x00, 0x0e, 0xc2, [15] = 0x23}};
	struct in_addr v4;
	struct in6_addr v6;

	if (strcmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127 ||
		       strcmp(host, "169.254.170.2") == 0 ||
		       strcmp(host, "169.254.170.23") == 0;
	if (inet_pton(AF_INET6, host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6) || memcmp(&v6, &eks, sizeof(v6)) == 0;
	return false;
}

/* The host of "host", "host:port", "[v6]" or "[v6]:port", up to `end`; NULL: not of that form. A user part is
   never taken for a host. */
static char *
host_of(const char *s, const char *end)
{
	const char *stop;

	if (memchr(s, '@', (size_t)(end - s)))
		return NULL;
	if (*s == '[') {
		stop = memchr(s, ']', (size_t)(end - s));
		if (!stop || (stop + 1 < end && stop[1] != ':'))
			return NULL;
		return xstrndup(s + 1, (size_t)(stop - s) - 1);
	}
	stop = memchr(s, ':', (size_t)(end - s));
	return xstrndup(s, (size_t)((stop ? stop : end) - s));
}

int
credentials_url_check(const char *url, struct err *err)
{
	bool https = strncmp(url, "https://", 8) == 0;
	AUTO_FREE char *host = NULL;
	const char *s;

	if (!https && strncmp(url, "http://", 7) != 0)
		return err_set(err, ERR_INVALID, "not an http or https URL");
	for (s = url; *s; s++)
		if (*s <= ' ' || *s > '~' || *s == '\\')
			return err_set(
			    err, ERR_INVALID, "a URL cannot hold such a character");
	s = url + (https ? 8 : 7);
	host = host_of(s, s + strcspn(s, "/?#"));
	if (!host || *host == '\0')
		return err_set(err, ERR_INVALID, "a URL without a plain host name");
	if (https || may_be_plain(host))
		return 0;
	err_set(err, ERR_INVALID, "plain http to '%.100s' is not allowed", host);
	return err_hint(
	    err, "https, loopback, 169.254.170.2, 169.254.170.23 or fd00:ec2::23");
}
