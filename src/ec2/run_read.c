/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/request.h"
#include "ec2/run.h"
#include "ec2/tags.h"
#include "ec2/types.h"

#define USER_DATA_MAX 16384 /* EC2 User Guide, "Instance user data" */

/* ---- image, type, key ---- */

static void
read_image(struct request *q, struct run *r)
{
	const char *id = request_need(q, "ImageId");

	if (!*id)
		return;
	r->image = request_object(q, &kind_image, id);
	if (!r->image)
		return;
	if (strcmp(r->image->state, "deregistered") == 0)
		request_fail(
		    q, "InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id);
	else if (strcmp(r->image->state, "available") != 0)
		request_fail(q, "InvalidAMIID.Unavailable",
		    "The image id '[%s]' is not available", id);
}

static void
read_type(struct request *q, struct run *r)
{
	const char *name = request_text(q, "InstanceType") ?: "m1.small";

	r->type = ec2_type_find(name);
	if (!r->type)
		request_fail(q, "InvalidParameterValue",
		    "Invalid value '%.60s' for InstanceType.", name);
	else if (r->image &&
		 strcmp(ec2_type_architecture(r->type), r->image->architecture) != 0)
		request_fail(q, "InvalidParameterValue",
		    "The architecture '%s' of the specified instance type does not match "
		    "the architecture '%s' of the specified AMI.",
		    ec2_type_architecture(r->type), r->image->architecture);
}

static void
read_key(struct request *q, struct run *r)
{
	const char *name = request_text(q, "KeyName");

	if (!name || !*name)
		return;
	r->key = keypair_by_name(q->region, name);
	if (!r->key)
		request_fail(q, "InvalidKeyPair.NotFound",
		    "The key pair '%.255s' does not exist", name);
}

static void
read_counts(struct request *q, struct run *r)
{
	request_need(q, "MinCount");
	request_need(q, "MaxCount");
	r->min = request_int(q, 1, 1, RUN_COUNT_MAX, "MinCount");
	r->max = request_int(q, 1, 1, RUN_COUNT_MAX, "MaxCount");
	if (r->min > r->max)
		request_fail(q, "InvalidParameterValue",
		    "Value (%lld) for parameter minCount is invalid. It must not be more "
		    "than maxCount.",
		    (long long)r->min);
}

static void
read_user_data(struct request *q, struct run *r)
{
	size_t n;

	free(request_base64(q, USER_DATA_MAX, &n, "UserData"));
	r->user_data = request_text(q, "UserData");
	if (r->user_data && !*r->user_data)
		r->user_data = NULL;
}

/* ---- behaviour ---- */

static void
read_metadata_options(struct request *q, struct run *r)
{
	static const char *const on_off[] = {"enabled", "disabled", NULL};
	static const char *const tokens[] = {"optional", "required", NULL};
	const char *m = "MetadataOptions";

	r->imds_token_optional =
	    strcmp(request_choice(q, tokens, "optional", "%s.HttpTokens", m),
		"optional") == 0;
	r->imds_disabled =
	    strcmp(request_choice(q, on_off, "enabled", "%s.HttpEndpoint", m),
		"disabled") == 0;
	r->imds_tags =
	    strcmp(request_choice(q, on_off, "disabled", "%s.InstanceMetadataTags", m),
		"enabled") == 0;
	r->imds_hop_limit = request_int(q, 1, 1, 64, "%s.HttpPutResponseHopLimit", m);
	request_choice(q, on_off, NULL, "%s.HttpProtocolIpv6", m);
}

static int64_t
read_time(struct request *q, const char *name)
{
	const char *s = request_text(q, "%s", name);
	struct tm tm = {0};
	const char *end;

	if (!s)
		return 0;
	end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!end || (*end != 'Z' && *end != '.' && *end != '+' && *end)) {
		request_fail(q, "InvalidParameterValue",
		    "Value (%.60s) for parameter %s is invalid. Expected a time as in "
		    "2026-11-22T05:42:33Z.",
		    s, name);
		return 0;
	}
	return (int64_t)timegm(&tm) * 1000;
}

static void
read_market(struct request *q, struct run *r)
{
	static const char *const markets[] = {"spot", NULL};
	static const char *const kinds_of[] = {"one-time", "persistent", NULL};
	static const char *const behaviours[] = {"hibernate", "stop", "terminate", NULL};
	const char *so = "InstanceMarketOptions.SpotOptions";

	if (!request_has(q, "InstanceMarketOptions"))
		return;
	r->spot =
	    request_choice(q, markets, NULL, "InstanceMarketOptions.MarketType") != NULL;
	r->persistent =
	    strcmp(request_choice(q, kinds_of, "one-time", "%s.SpotInstanceType", so),
		"persistent") == 0;
	r->interruption = request_choice(
	    q, behaviours, "terminate", "%s.InstanceInterruptionBehavior", so);
	r->price = request_text(q, "%s.MaxPrice", so);
	r->valid_until = read_time(q, "InstanceMarketOptions.SpotOptions.ValidUntil");
	if (!r->spot && request_has(q, "%s", so))
		request_fail(q, "InvalidParameterCombination",
		    "SpotOptions need the market type 'spot'.");
	if (!r->persistent && strcmp(r->interruption, "terminate") != 0)
		request_fail(q, "InvalidParameterCombination",
		    "Interruption behavior '%s' is not supported for one-time Spot "
		    "requests.",
		    r->interruption);
}

static void
read_profile(struct request *q, struct run *r)
{
	const char *arn = request_text(q, "IamInstanceProfile.Arn");
	const char *name = request_text(q, "IamInstanceProfile.Name");

	if (arn && name)
		request_fail(q, "InvalidParameterCombination",
		    "The parameter 'iamInstanceProfile.name' may not be used in "
		    "combination with 'iamInstanceProfile.arn'");
	if (arn && *arn)
		r->profile = xstrdup(arn);
	else if (name && *name)
		r->profile = xasprintf(
		    "arn:aws:iam::%s:instance-profile/%s", q->world->account, name);
}

static void
read_behaviour(struct request *q, struct run *r)
{
	static const char *const shutdown[] = {"stop", "terminate", NULL};
	static const char *const tenancies[] = {"default", NULL};

	r->terminate_on_shutdown = strcmp(request_choice(q, shutdown, "stop",
					      "InstanceInitiatedShutdownBehavior"),
				       "terminate") == 0;
	r->no_api_termination = request_bool(q, false, "DisableApiTermination");
	r->no_api_stop = request_bool(q, false, "DisableApiStop");
	r->monitoring = request_bool(q, false, "Monitoring.Enabled");
	r->ebs_optimized = request_bool(q, false, "EbsOptimized");
	r->hibernation = request_bool(q, false, "HibernationOptions.Configured");
	request_choice(q, tenancies, NULL, "Placement.Tenancy");
	/* No machine here differs by these. */
	request_ignore(q, "CreditSpecification");
	request_ignore(q, "CpuOptions");
	request_ignore(q, "MaintenanceOptions");
	request_ignore(q, "PrivateDnsNameOptions");
	request_ignore(q, "AdditionalInfo");
	request_ignore(q, "CapacityReservationSpecification");
}

/* EC2 User Guide, "Prerequisites for EC2 instance hibernation". */
static void
check_hibernation(struct request *q, struct run *r)
{
	if (!r->hibernation || request_failed(q))
		return;
	if (!(r->type->flags & TYPE_HIBERNATION))
		request_fail(q, "UnsupportedHibernationConfiguration",
		    "Unsupported hibernation configuration: instance type %s does not "
		    "support hibernation.",
		    r->type->name);
	else if (!r->mappings[0].encrypted)
		request_fail(q, "UnsupportedHibernationConfiguration",
		    "Unsupported hibernation configuration: the root volume must be "
		    "encrypted.");
	else if (r->mappings[0].size_gib * 1024 < r->type->memory_mib)
		request_fail(q, "UnsupportedHibernationConfiguration",
		    "Unsupported hibernation configuration: the root volume must be "
		    "large enough for the memory of %s, %d MiB.",
		    r->type->name, r->type->memory_mib);
	else if (r->spot && strcmp(r->interruption, "hibernate") != 0 && !r->persistent)
		request_fail(q, "UnsupportedHibernationConfiguration",
		    "Unsupported hibernation configuration: a one-time Spot request.");
}

void
run_read(struct request *q, struct run *r)
{
	static const char *const tagged[] = {
	    "instance", "volume", "network-interface", "spot-instances-request", NULL};

	*r = (struct run){.interruption = "terminate"};
	read_counts(q, r);
	read_image(q, r);
	read_type(q, r);
	read_key(q, r);
	read_user_data(q, r);
	read_behaviour(q, r);
	read_metadata_options(q, r);
	read_market(q, r);
	read_profile(q, r);
	request_check_tags(q, tagged);
	run_read_network(q, r);
	run_read_mappings(q, r);
	check_hibernation(q, r);
}

void
run_fini(struct run *r)
{
	for (int i = 0; i < r->n_interfaces; i++)
		texts_clear(&r->interfaces[i].groups);
	texts_clear(&r->groups);
	free(r->profile);
}
