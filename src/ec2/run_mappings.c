/* SPDX-License-Identifier: Apache-2.0 */
/* The volumes that RunInstances makes with an instance. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/run.h"

/* gp3 with what it has at least: what AWS's own images are registered with. */
static struct run_mapping
new_mapping(const char *device)
{
	return (struct run_mapping){
	    .device = device, .type = "gp3", .iops = 3000, .throughput = 125};
}

static struct run_mapping *
mapping_of(struct run *r, const char *device)
{
	for (int i = 0; i < r->n_mappings; i++)
		if (strcmp(r->mappings[i].device, device) == 0)
			return &r->mappings[i];
	if (r->n_mappings == RUN_MAPPINGS_MAX)
		return NULL;
	r->mappings[r->n_mappings] = new_mapping(device);
	return &r->mappings[r->n_mappings++];
}

static void
take_images_own(struct run *r)
{
	struct run_mapping *root = mapping_of(r, r->image->root_device);
	size_t i;
	json_t *m;

	root->snapshot = r->image->snapshot;
	root->size_gib = r->image->root_gib;
	json_array_foreach (r->image->mappings, i, m) {
		struct run_mapping *to =
		    mapping_of(r, json_string_value(json_object_get(m, "device")) ?: "");

		if (!to)
			return;
		to->snapshot = json_string_value(json_object_get(m, "snapshot"));
		to->size_gib = json_integer_value(json_object_get(m, "size"));
		to->keep = json_is_false(json_object_get(m, "delete"));
	}
}

/* The size of what it is made from, if it is made from something else than the image says. */
static void
read_snapshot(struct request *q, struct run_mapping *m, const char *id)
{
	const struct snapshot *s;

	if (!id || !*id || (m->snapshot && strcmp(id, m->snapshot) == 0))
		return;
	s = request_object(q, &kind_snapshot, id);
	if (!s)
		return;
	m->snapshot = s->o.id;
	m->size_gib = s->size_gib;
	m->encrypted |= s->encrypted;
}

static void
read_size(struct request *q, struct run_mapping *m, const char *at)
{
	int64_t size = request_int(q, 0, 1, 65536, "%s.VolumeSize", at);

	if (size && size < m->size_gib)
		request_fail(q, "InvalidBlockDeviceMapping",
		    "Volume of size %lldGB is smaller than snapshot '%s', expect size >= "
		    "%lldGB",
		    (long long)size, m->snapshot, (long long)m->size_gib);
	else if (size)
		m->size_gib = size;
	if (!m->size_gib)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter size or snapshotId");
}

static void
read_volume(struct request *q, struct run_mapping *m, const char *at)
{
	char type[80], iops[80], throughput[80];
	struct volume_spec spec;

	(void)snprintf(type, sizeof(type), "%s.VolumeType", at);
	(void)snprintf(iops, sizeof(iops), "%s.Iops", at);
	(void)snprintf(throughput, sizeof(throughput), "%s.Throughput", at);
	spec = (struct volume_spec){.type = m->type,
	    .size_gib = m->size_gib,
	    .iops = m->iops,
	    .throughput = m->throughput};
	volume_spec_read(q, &spec, type, iops, throughput);
	m->type = spec.type;
	m->iops = spec.iops;
	m->throughput = spec.throughput;
}

static void
read_mapping(struct request *q, struct run *r, int n)
{
	char at[64];
	const char *device = request_need(q, "BlockDeviceMapping.%d.DeviceName", n);
	struct run_mapping *m = mapping_of(r, device);

	if (!m) {
		request_fail(q, "InvalidBlockDeviceMapping",
		    "At most %d block device mappings are possible", RUN_MAPPINGS_MAX);
		return;
	}
	(void)snprintf(at, sizeof(at), "BlockDeviceMapping.%d.Ebs", n);
	m->none = request_text(q, "BlockDeviceMapping.%d.NoDevice", n) != NULL ||
		  request_text(q, "BlockDeviceMapping.%d.VirtualName", n) != NULL;
	if (m->none)
		return;
	request_ignore(q, "%s.KmsKeyId", at);
	request_ignore(q, "%s.VolumeInitializationRate", at);
	read_snapshot(q, m, request_text(q, "%s.SnapshotId", at));
	read_size(q, m, at);
	read_volume(q, m, at);
	m->encrypted = request_bool(q, m->encrypted, "%s.Encrypted", at);
	m->keep = !request_bool(q, !m->keep, "%s.DeleteOnTermination", at);
}

void
run_read_mappings(struct request *q, struct run *r)
{
	int n = request_count(q, "BlockDeviceMapping");

	if (request_failed(q))
		return;
	take_images_own(r);
	for (int i = 1; i <= n; i++)
		read_mapping(q, r, i);
	if (r->mappings[0].none)
		request_fail(q, "InvalidBlockDeviceMapping",
		    "The root device %s cannot be left out", r->mappings[0].device);
}
