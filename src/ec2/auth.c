/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/auth.h"

#include <stdlib.h>
#include <string.h>

#include "aws/sigv4.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "ec2/config.h"
#include "ec2/request.h"
#include "ec2/world.h"
#include "net/http_server.h"

/* One failure in the words of EC2, of STS and SQS, and of the JSON protocols. */
struct wording {
	const char *ec2, *query, *json;
	const char *message;
};

static const struct wording unknown_key = {"AuthFailure", "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AWS was not able to validate the provided access credentials"};
static const struct wording wrong_signature = {"AuthFailure", "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "AWS was not able to validate the provided access credentials"};
static const struct wording expired = {"RequestExpired", "SignatureDoesNotMatch",
    "InvalidSignatureException", "Request has expired."};
static const struct wording missing = {"MissingAuthenticationToken",
    "MissingAuthenticationToken", "MissingAuthenticationTokenException",
    "Request is missing Authentication Token"};
static const struct wording incomplete = {
    "IncompleteSignature", "IncompleteSignature", "IncompleteSignatureException", NULL};

static int
refuse(struct request *q, enum service s, const struct wording *w, const char *message)
{
	const char *code = s == SERVICE_EC2				     ? w->ec2
			   : s == SERVICE_EIC || s == SERVICE_EFS || q->json ? w->json
									     : w->query;

	return request_fail(q, code, "%s", message ?: w->message);
}

struct collected {
	struct sigv4_header v[SIGV4_HEADERS_MAX];
	int n;
};

static bool
collect(void *arg, const char *name, const char *value)
{
	struct collected *c = arg;

	if (c->n == SIGV4_HEADERS_MAX)
		return false;
	c->v[c->n++] = (struct sigv4_header){name, value};
	return true;
}

static bool
add_argument(void *arg, const char *name, const char *value)
{
	struct buf *b = arg;

	buf_fmt(b, "%s%s%s%s", b->len ? "&" : "", name, value ? "=" : "", value ?: "");
	return true;
}

void
auth_query(struct http_request *http, struct buf *to)
{
	http_query(http, add_argument, to);
}

static enum service
service_of(const char *name)
{
	int s = 0;

	while (s < SERVICE_MAX && strcmp(service_info[s].name, name) != 0)
		s++;
	return (enum service)s;
}

static int
verify(struct request *q, struct http_request *http, const char *query,
    const struct sigv4_claim *claim, const char *secret, enum service service)
{
	struct collected headers = {.n = 0};
	struct sigv4_request r = {.method = http_method(http),
	    .path = http_path(http),
	    .query = query,
	    .headers = headers.v};
	struct err err = {0};

	http_headers(http, collect, &headers);
	r.n_headers = headers.n;
	r.body = http_body(http, &r.body_len);
	if (sigv4_verify(&r, claim, secret, world_now(q->world) / 1000, &err) == 0)
		return 0;
	if (err.code == ERR_CONFLICT)
		return refuse(q, service, &expired, NULL);
	if (err.code == ERR_INVALID)
		return refuse(q, service, &incomplete, err.msg);
	return refuse(q, service, &wrong_signature, NULL);
}

int
auth_check(struct request *q, struct http_request *http, const struct config *c,
    enum service *ret_service)
{
	AUTO_BUF struct buf query = BUF_INIT(64 << 10);
	const char *authorization = http_header(http, "Authorization");
	const struct config_credentials *key;
	struct sigv4_claim claim;
	struct err err = {0};
	enum service service;

	auth_query(http, &query);
	*ret_service = SERVICE_EC2;
	if (!authorization && !(query.data && strstr(query.data, "X-Amz-Signature=")))
		return refuse(q, SERVICE_EC2, &missing, NULL);
	if (sigv4_parse(authorization, query.data ?: "", http_header(http, "X-Amz-Date"),
		&claim, &err) < 0)
		return refuse(q, SERVICE_EC2, &incomplete, err.msg);
	service = service_of(claim.service);
	if (service == SERVICE_MAX)
		return request_fail(q, "AuthFailure",
		    "Credential should be scoped to correct service: this endpoint "
		    "serves ec2, sts, ec2-instance-connect, sqs and elasticfilesystem.");
	*ret_service = service;
	key = config_credentials_of(c, claim.access_key_id);
	if (!key)
		return refuse(q, service, &unknown_key, NULL);
	if (verify(q, http, query.data ?: "", &claim, key->secret_access_key, service) <
	    0)
		return -1;
	q->access_key_id = key->access_key_id;
	q->region = world_region(q->world, claim.region);
	if (!q->region)
		return request_fail(q, "AuthFailure",
		    "Credential should be scoped to a valid region, not '%.60s'.",
		    claim.region);
	return 0;
}
