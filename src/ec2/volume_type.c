/* SPDX-License-Identifier: Apache-2.0 */
/* What volumes of each type may be: EBS User Guide, "Amazon EBS volume types". */
#include <string.h>

#include "ec2/request.h"
#include "ec2/resource.h"

#define GP2_IOPS_PER_GIB 3
#define GP2_IOPS_MIN 100
#define GP2_IOPS_MAX 16000
#define THROUGHPUT_MIN 125
#define IOPS_PER_THROUGHPUT 4 /* 0.25 MiB/s per IOPS */

struct volume_type {
	const char *name;
	int64_t size_min, size_max;
	int64_t iops_min, iops_max; /* 0: not to be given */
	int64_t iops_default;	    /* 0: must be given */
	int64_t iops_per_gib;
	int64_t throughput_max; /* MiB/s; 0: not to be given */
};

static const struct volume_type volume_types[] = {
    {"gp2", 1, 16384},
    {"gp3", 1, 65536, 3000, 80000, 3000, 500, 2000},
    {"io1", 4, 16384, 100, 64000, 0, 50},
    {"io2", 4, 65536, 100, 256000, 0, 1000},
    {"st1", 125, 16384},
    {"sc1", 125, 16384},
    {"standard", 1, 1024},
    {NULL},
};

static void
check_size(struct request *q, const struct volume_type *t, int64_t size)
{
	if (size > t->size_max)
		request_fail(q, "InvalidParameterValue",
		    "Volume of %lldGiB is too large for volume type %s; maximum is "
		    "%lldGiB",
		    (long long)size, t->name, (long long)t->size_max);
	else if (size < t->size_min)
		request_fail(q, "InvalidParameterValue",
		    "Volume of %lldGiB is too small for volume type %s; minimum is "
		    "%lldGiB",
		    (long long)size, t->name, (long long)t->size_min);
}

static void
check_iops(struct request *q, const struct volume_type *t, const struct volume_spec *s,
    bool given)
{
	if (given && !t->iops_max) {
		request_fail(q, "InvalidParameterCombination",
		    "The parameter iops is not supported for %s volumes.", t->name);
	} else if (!given && t->iops_max && !s->iops) {
		request_fail(q, "MissingParameter",
		    "The parameter iops must be specified for %s volumes.", t->name);
	} else if (t->iops_max && (s->iops < t->iops_min || s->iops > t->iops_max)) {
		request_fail(q, "InvalidParameterValue",
		    "Volume iops of %lld is too %s; %s is %lld.", (long long)s->iops,
		    s->iops < t->iops_min ? "low" : "high",
		    s->iops < t->iops_min ? "minimum" : "maximum",
		    (long long)(s->iops < t->iops_min ? t->iops_min : t->iops_max));
	} else if (t->iops_per_gib && given && s->iops > t->iops_min &&
		   s->iops > t->iops_per_gib * s->size_gib) {
		request_fail(q, "InvalidParameterValue",
		    "Iops to volume size ratio of %.6f is too high; maximum is %.6f",
		    (double)s->iops / (double)s->size_gib, (double)t->iops_per_gib);
	}
}

static void
check_throughput(struct request *q, const struct volume_type *t,
    const struct volume_spec *s, bool given)
{
	if (given && !t->throughput_max)
		request_fail(q, "InvalidParameterCombination",
		    "The parameter throughput is not supported for %s volumes.", t->name);
	else if (t->throughput_max &&
		 (s->throughput < THROUGHPUT_MIN || s->throughput > t->throughput_max))
		request_fail(q, "InvalidParameterValue",
		    "Throughput of %lld MiB/s is not between %d and %lld.",
		    (long long)s->throughput, THROUGHPUT_MIN,
		    (long long)t->throughput_max);
	else if (given && s->throughput * IOPS_PER_THROUGHPUT > s->iops)
		request_fail(q, "InvalidParameterValue",
		    "Throughput (MiBps) to iops ratio of %.6f is too high; maximum is "
		    "0.250000 MiBps per iops.",
		    (double)s->throughput / (double)s->iops);
}

static int64_t
default_iops(const struct volume_type *t, int64_t size)
{
	int64_t n = size * GP2_IOPS_PER_GIB;

	if (strcmp(t->name, "gp2") != 0)
		return t->iops_default;
	return n < GP2_IOPS_MIN ? GP2_IOPS_MIN : n > GP2_IOPS_MAX ? GP2_IOPS_MAX : n;
}

void
volume_spec_read(struct request *q, struct volume_spec *spec, const char *type,
    const char *iops, const char *throughput)
{
	const char *name = request_text(q, "%s", type) ?: spec->type ?: "gp2";
	const struct volume_type *t = volume_types;
	bool same_type = spec->type && strcmp(spec->type, name) == 0;
	bool given = request_has(q, "%s", iops);

	while (t->name && strcmp(t->name, name) != 0)
		t++;
	if (!t->name) {
		request_fail(q, "InvalidParameterValue",
		    "Invalid value '%.32s' for VolumeType.", name);
		spec->type = "gp2";
		return;
	}
	if (!same_type || !t->iops_max)
		spec->iops = default_iops(t, spec->size_gib);
	if (!same_type)
		spec->throughput = t->throughput_max ? THROUGHPUT_MIN : 0;
	spec->type = t->name;
	spec->iops = request_int(q, spec->iops, 0, 1 << 20, "%s", iops);
	spec->throughput = request_int(q, spec->throughput, 0, 1 << 20, "%s", throughput);
	check_size(q, t, spec->size_gib);
	check_iops(q, t, spec, given);
	check_throughput(q, t, spec, request_has(q, "%s", throughput));
}
