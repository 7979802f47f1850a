/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/client_error.h"

#include <fnmatch.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "aws/xml.h"
#include "net/fetch.h"

#define TEXT_MAX 200

enum hint {
	HINT_NONE,
	HINT_RATE,
	HINT_KEY,
	HINT_SECRET,
	HINT_CLOCK,
	HINT_EXPIRED,
	HINT_IAM,
	HINT_ACCOUNT,
	HINT_CAPACITY,
	HINT_QUOTA,
	HINT_ABSENT,
};

struct meaning {
	const char *code; /* pattern of fnmatch(3) */
	enum aws_remedy remedy;
	enum err_code err;
	enum hint hint;
};

/* clang-format off */
/* The first that fits counts. Throttling and transient codes: botocore/retries/standard.py; the others: EC2 API
   Reference, "Error codes for the Amazon EC2 API", and "Common errors" of STS, SQS and EC2 Instance Connect.
   Want of capacity comes with status 500, so codes go before the status. */
static const struct meaning meanings[] = {
	{ "RequestLimitExceeded",          AWS_THROTTLED, ERR_RATE_LIMITED,  HINT_RATE },
	{ "Throttling*",                   AWS_THROTTLED, ERR_RATE_LIMITED,  HINT_RATE },
	{ "ThrottledException",            AWS_THROTTLED, ERR_RATE_LIMITED,  HINT_RATE },
	{ "*RequestThrottled*",            AWS_THROTTLED, ERR_RATE_LIMITED,  HINT_RATE },
	{ "TooManyRequestsException",      AWS_THROTTLED, ERR_RATE_LIMITED,  HINT_RATE },
	{ "ProvisionedThroughputExceeded*", AWS_THROTTLED, ERR_RATE_LIMITED, HINT_RATE },
	{ "TransactionInProgressException", AWS_THROTTLED, ERR_RATE_LIMITED, HINT_RATE },
	{ "BandwidthLimitExceeded",        AWS_THROTTLED, ERR_RATE_LIMITED,  HINT_RATE },
	{ "LimitExceededException",        AWS_THROTTLED, ERR_RATE_LIMITED,  HINT_RATE },
	{ "SlowDown",                      AWS_THROTTLED, ERR_RATE_LIMITED,  HINT_RATE },
	{ "EC2ThrottledException",         AWS_THROTTLED, ERR_RATE_LIMITED,  HINT_RATE },
	{ "PriorRequestNotComplete",       AWS_THROTTLED, ERR_RATE_LIMITED,  HINT_RATE },
	{ "RequestTimeout*",               AWS_TRANSIENT, ERR_UNAVAILABLE,   HINT_NONE },
	{ "RequestExpired",                AWS_CLOCK,     ERR_NOT_PERMITTED, HINT_CLOCK },
	{ "RequestTimeTooSkewed",          AWS_CLOCK,     ERR_NOT_PERMITTED, HINT_CLOCK },
	{ "SignatureDoesNotMatch",         AWS_CLOCK,     ERR_NOT_PERMITTED, HINT_SECRET },
	{ "InvalidSignature*",             AWS_CLOCK,     ERR_NOT_PERMITTED, HINT_SECRET },
	{ "AuthFailure",                   AWS_CLOCK,     ERR_NOT_PERMITTED, HINT_KEY },
	{ "ExpiredToken*",                 AWS_KEY,       ERR_NOT_PERMITTED, HINT_EXPIRED },
	{ "InvalidClientTokenId",          AWS_KEY,       ERR_NOT_PERMITTED, HINT_KEY },
	{ "UnrecognizedClient*",           AWS_KEY,       ERR_NOT_PERMITTED, HINT_KEY },
	{ "InvalidAccessKeyId",            AWS_KEY,       ERR_NOT_PERMITTED, HINT_KEY },
	{ "UnauthorizedOperation",         AWS_FINAL,     ERR_NOT_PERMITTED, HINT_IAM },
	{ "AccessDenied*",                 AWS_FINAL,     ERR_NOT_PERMITTED, HINT_IAM },
	{ "MissingAuthenticationToken*",   AWS_FINAL,     ERR_NOT_PERMITTED, HINT_KEY },
	{ "IncompleteSignature*",          AWS_FINAL,     ERR_NOT_PERMITTED, HINT_KEY },
	{ "OptInRequired",                 AWS_FINAL,     ERR_NOT_PERMITTED, HINT_ACCOUNT },
	{ "PendingVerification",           AWS_FINAL,     ERR_NOT_PERMITTED, HINT_ACCOUNT },
	{ "Blocked",                       AWS_FINAL,     ERR_NOT_PERMITTED, HINT_ACCOUNT },
	{ "Insufficient*",                 AWS_FINAL,     ERR_NO_CAPACITY,   HINT_CAPACITY },
	{ "Unsupported",                   AWS_FINAL,     ERR_NO_CAPACITY,   HINT_CAPACITY },
	{ "*LimitExceeded",                AWS_FINAL,     ERR_NO_CAPACITY,   HINT_QUOTA },
	{ "MaxSpotInstanceCountExceeded",  AWS_FINAL,     ERR_NO_CAPACITY,   HINT_QUOTA },
	{ "ReservationCapacityExceeded",   AWS_FINAL,     ERR_NO_CAPACITY,   HINT_CAPACITY },
	{ "*NotFound",                     AWS_FINAL,     ERR_NOT_FOUND,     HINT_ABSENT },
	{ "*NotFoundException",            AWS_FINAL,     ERR_NOT_FOUND,     HINT_ABSENT },
	{ "*NonExistentQueue",             AWS_FINAL,     ERR_NOT_FOUND,     HINT_NONE },
	{ "QueueDoesNotExist",             AWS_FINAL,     ERR_NOT_FOUND,     HINT_NONE },
};
/* clang-format on */

static struct meaning
meaning_of(const char *code, int status)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (fnmatch(meanings[i].code, code, 0) == 0)
			return meanings[i];
	switch (status) {
	case 401:
	case 403:
		return (struct meaning){NULL, AWS_FINAL, ERR_NOT_PERMITTED, HINT_KEY};
	case 429:
		return (struct meaning){NULL, AWS_THROTTLED, ERR_RATE_LIMITED, HINT_RATE};
	case 500:
	case 502:
	case 503:
	case 504:
		return (struct meaning){NULL, AWS_TRANSIENT, ERR_UNAVAILABLE, HINT_NONE};
	default:
		return (struct meaning){NULL, AWS_FINAL,
		    status >= 400 && status < 500 ? ERR_INVALID : ERR_UNAVAILABLE,
		    HINT_NONE};
	}
}

static void
set_hint(struct err *err, const struct aws_about *a, enum hint hint)
{
	switch (hint) {
	case HINT_NONE:
		break;
	case HINT_RATE:
		err_hint(err,
		    "something else in this account calls %s in %s very often: find it, "
		    "or "
		    "ask AWS for a higher rate",
		    a->action, a->region);
		break;
	case HINT_KEY:
		err_hint(err,
		    "check the keys of %s: are they this account's and active, and is "
		    "region "
		    "%s enabled?",
		    a->key_source, a->region);
		break;
	case HINT_SECRET:
		err_hint(err,
		    "check the secret access key of %s, and this host's clock "
		    "(timedatectl)",
		    a->key_source);
		break;
	case HINT_CLOCK:
		err_hint(err,
		    "check this host's clock (timedatectl); if it is right, renew the "
		    "keys "
		    "of %s",
		    a->key_source);
		break;
	case HINT_EXPIRED:
		err_hint(err, "renew the keys of %s", a->key_source);
		break;
	case HINT_IAM:
		err_hint(err, "allow %s:%s to the owner of the keys of %s, in IAM",
		    a->service, a->action, a->key_source);
		break;
	case HINT_ACCOUNT:
		err_hint(err,
		    "the account cannot use %s in %s yet: finish its sign-up, or "
		    "enable the region",
		    a->service, a->region);
		break;
	case HINT_CAPACITY:
		err_hint(err, "try another zone or instance type, or later");
		break;
	case HINT_QUOTA:
		err_hint(err,
		    "raise the limit in AWS's Service Quotas, or lower the pool's max");
		break;
	case HINT_ABSENT:
		err_hint(err, "ids are of one account and region: is %s the right one?",
		    a->region);
		break;
	}
}

static void
hint_endpoint(struct err *err, const struct aws_about *a)
{
	if (a->own_endpoint)
		err_hint(err, "is %s the right endpoint, and is it up?", a->endpoint);
	else
		err_hint(err,
		    "check network, DNS and proxy, and that %s is a region of AWS",
		    a->region);
}

/* ---- what the reply says ---- */

/* Cuts to what fits, blanks and what is not printable ASCII made into one blank. */
static void
copy_text(char *out, size_t max, const char *s)
{
	size_t n = 0;

	for (; *s && n < max - 1; s++) {
		if (*s > ' ' && *s <= '~')
			out[n++] = *s;
		else if (n && out[n - 1] != ' ')
			out[n++] = ' ';
	}
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

/* <Response><Errors><Error> of EC2, <ErrorResponse><Error> of the others, <Error> alone. */
static bool
read_xml(const struct fetch_reply *reply, char code[96], char text[TEXT_MAX])
{
	static const char *const places[] = {"Errors/Error", "Error"};
	const struct xml *e = NULL;
	struct xml *root;
	struct err err;

	if (xml_parse(reply->body, reply->body_len, &root, &err) < 0)
		return false;
	for (size_t i = 0; !e && i < sizeof(places) / sizeof(places[0]); i++)
		e = xml_find(root, places[i]);
	if (!e && strcmp(root->name, "Error") == 0)
		e = root;
	copy_text(code, 96, xml_text(e, "Code"));
	copy_text(text, TEXT_MAX, xml_text(e, "Message"));
	xml_free(root);
	return code[0] != '\0';
}

/* {"__type": "com.amazonaws.x#CodeException:http://...", "message": "..."}; EFS: {"ErrorCode": "Code", "Message": "...",
   "AccessPointId": "fsap-..."} */
static bool
read_json(const struct fetch_reply *reply, char code[96], char text[TEXT_MAX],
    char existing[64])
{
	static const char *const ids[] = {"FileSystemId", "AccessPointId"};
	json_t *root = json_loadb(reply->body, reply->body_len, 0, NULL);
	const char *type = json_string_value(json_object_get(root, "__type"));
	const char *message = json_string_value(json_object_get(root, "message"));
	const char *hash = type ? strchr(type, '#') : NULL;
	const char *id;

	if (!message)
		message = json_string_value(json_object_get(root, "Message"));
	if (!type)
		type = json_string_value(json_object_get(root, "ErrorCode"));
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		if ((id = json_string_value(json_object_get(root, ids[i]))))
			copy_text(existing, 64, id);
	copy_text(code, 96, hash ? hash + 1 : type ? type : "");
	code[strcspn(code, ":")] = '\0';
	copy_text(text, TEXT_MAX, message ? message : "");
	json_decref(root);
	return code[0] != '\0';
}

static const char *
kind_of(const struct fetch_reply *reply)
{
	const char *s = reply->body + strspn(reply->body, " \t\r\n");

	if (reply->body_len == 0)
		return "nothing";
	if (strcasestr(reply->content_type, "html") ||
	    strncasecmp(s, "<!doctype html", 14) == 0 || strncasecmp(s, "<html", 5) == 0)
		return "HTML";
	return "what no AWS service says";
}

static void
failure_init(struct aws_failure *f, int status)
{
	*f = (struct aws_failure){.remedy = AWS_FINAL, .aws = {.status = status}};
}

void
aws_failure_of_reply(
    struct aws_failure *f, const struct aws_about *about, const struct fetch_reply *reply)
{
	char text[TEXT_MAX] = "";
	struct meaning m;
	bool theirs;

	failure_init(f, reply->status);
	theirs = read_xml(reply, f->aws.code, text) ||
		 read_json(reply, f->aws.code, text, f->aws.existing);
	m = meaning_of(f->aws.code, reply->status);
	f->remedy = m.remedy;
	f->aws.throttled = m.remedy == AWS_THROTTLED;
	if (theirs) {
		err_set(&f->err, m.err, "%s: %s: %s", about->action, f->aws.code, text);
		set_hint(&f->err, about, m.hint);
		if (m.err == ERR_UNAVAILABLE)
			err_hint(&f->err, "%s has trouble of its own: try again later",
			    about->endpoint);
	} else {
		err_set(&f->err, m.err == ERR_RATE_LIMITED ? m.err : ERR_UNAVAILABLE,
		    "%s: %s answered HTTP %d with %s", about->action, about->endpoint,
		    reply->status, kind_of(reply));
		hint_endpoint(&f->err, about);
	}
	/* "Credential should be scoped to a valid region" */
	if (strstr(text, "scoped to"))
		err_hint(&f->err,
		    "this endpoint serves another region than %s: set the right one",
		    about->region);
}

void
aws_failure_of_garbage(struct aws_failure *f, const struct aws_about *about,
    const struct fetch_reply *reply, const struct err *why)
{
	failure_init(f, reply->status);
	if (why->code == ERR_TOO_LARGE)
		err_set(&f->err, ERR_TOO_LARGE, "%s: %s answered with too much: %s",
		    about->action, about->endpoint, why->msg);
	else
		err_set(&f->err, ERR_UNAVAILABLE, "%s: %s answered HTTP %d with %s: %s",
		    about->action, about->endpoint, reply->status, kind_of(reply),
		    why->msg);
	hint_endpoint(&f->err, about);
}

void
aws_failure_of_silence(
    struct aws_failure *f, const struct aws_about *about, const struct err *why)
{
	failure_init(f, 0);
	f->remedy = why->code == ERR_UNAVAILABLE ? AWS_TRANSIENT : AWS_FINAL;
	f->err = *why;
	err_wrap(&f->err, "%s", about->action);
	if (why->hint[0]) /* about whom is trusted */
		err_hint(&f->err, "AWS_CA_BUNDLE, or the profile's ca_bundle, names the "
				  "file of the authorities that are trusted");
	else if (why->code != ERR_CANCELLED)
		hint_endpoint(&f->err, about);
}
