/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeInstanceTypes and what is asked beside it: where types are offered. */
#include <stdlib.h>
#include <string.h>

#include "aws/prices.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "ec2/describe.h"
#include "ec2/families.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/types.h"
#include "ec2/zones.h"

static const struct ec2_type *
type_of(const void *o)
{
	return o;
}

static bool
has(const void *o, enum type_flags flag)
{
	return (type_of(o)->flags & flag) != 0;
}

static const char *
ena_support(const struct ec2_type *t)
{
	return t->flags & TYPE_XEN ? "unsupported" : "required";
}

static const char *
nvme_support(const struct ec2_type *t)
{
	return t->flags & TYPE_XEN ? "unsupported" : "required";
}

/* ---- filters ---- */

OFFER(by_name, type_of(o)->name)
OFFER(by_hypervisor, type_of(o)->flags &TYPE_METAL ? NULL
		     : type_of(o)->flags &TYPE_XEN ? "xen"
						   : "nitro")
OFFER(by_network, type_of(o)->network)
OFFER(by_ena, ena_support(type_of(o)))
OFFER(by_nvme, nvme_support(type_of(o)))
OFFER(by_ebs_optimized, type_of(o)->flags &TYPE_XEN ? "unsupported" : "default")
OFFER_INT(by_vcpus, type_of(o)->vcpus)
OFFER_INT(by_cores, type_of(o)->vcpus / type_of(o)->threads)
OFFER_INT(by_threads, type_of(o)->threads)
OFFER_INT(by_memory, type_of(o)->memory_mib)
OFFER_INT(by_interfaces, type_of(o)->interfaces)
OFFER_INT(by_addresses, type_of(o)->addresses)
OFFER_BOOL(by_generation, !has(o, TYPE_PREVIOUS))
OFFER_BOOL(by_free, has(o, TYPE_FREE))
OFFER_BOOL(by_metal, has(o, TYPE_METAL))
OFFER_BOOL(by_burst, has(o, TYPE_BURST))
OFFER_BOOL(by_hibernation, has(o, TYPE_HIBERNATION))
OFFER_BOOL(by_hosts, has(o, TYPE_HOSTS))
OFFER_BOOL(by_storage, type_of(o)->disk_gb != 0)
OFFER_BOOL(by_recovery, !has(o, TYPE_METAL) && type_of(o)->disk_gb == 0)
OFFER_BOOL(by_encryption, has(o, TYPE_ENCRYPTION))

static void
by_architecture(const void *o, struct offer *v)
{
	offer(v, ec2_type_architecture(type_of(o)));
	if (has(o, TYPE_I386))
		offer(v, "i386");
}

static void
by_usage(const void *o, struct offer *v)
{
	offer(v, "on-demand");
	offer(v, "spot");
}

static void
by_root_device(const void *o, struct offer *v)
{
	offer(v, "ebs");
}

static void
by_virtualization(const void *o, struct offer *v)
{
	offer(v, "hvm");
}

static void
by_boot_mode(const void *o, struct offer *v)
{
	if (has(o, TYPE_BIOS))
		offer(v, "legacy-bios");
	if (has(o, TYPE_UEFI))
		offer(v, "uefi");
}

static void
by_clock(const void *o, struct offer *v)
{
	char text[16];
	snprintf(
	    text, sizeof text, "%d.%d", type_of(o)->clock / 10, type_of(o)->clock % 10);
	offer(v, text);
}

static const struct filter type_filters[] = {
    {"auto-recovery-supported", by_recovery},
    {"bare-metal", by_metal},
    {"burstable-performance-supported", by_burst},
    {"current-generation", by_generation},
    {"dedicated-hosts-supported", by_hosts},
    {"ebs-info.ebs-optimized-support", by_ebs_optimized},
    {"ebs-info.nvme-support", by_nvme},
    {"free-tier-eligible", by_free},
    {"hibernation-supported", by_hibernation},
    {"hypervisor", by_hypervisor},
    {"instance-storage-supported", by_storage},
    {"instance-type", by_name},
    {"memory-info.size-in-mib", by_memory},
    {"network-info.ena-support", by_ena},
    {"network-info.encryption-in-transit-supported", by_encryption},
    {"network-info.ipv4-addresses-per-interface", by_addresses},
    {"network-info.maximum-network-interfaces", by_interfaces},
    {"network-info.network-performance", by_network},
    {"processor-info.supported-architecture", by_architecture},
    {"processor-info.sustained-clock-speed-in-ghz", by_clock},
    {"supported-boot-mode", by_boot_mode},
    {"supported-root-device-type", by_root_device},
    {"supported-usage-class", by_usage},
    {"supported-virtualization-type", by_virtualization},
    {"vcpu-info.default-cores", by_cores},
    {"vcpu-info.default-threads-per-core", by_threads},
    {"vcpu-info.default-vcpus", by_vcpus},
    {NULL},
};

/* ---- DescribeInstanceTypes ---- */

static void
write_list(struct reply *r, const char *name, const char *const *values)
{
	reply_open(r, name);
	for (; *values; values++)
		reply_text(r, "item", *values);
	reply_close(r);
}

static void
write_processor(struct reply *r, const struct ec2_type *t)
{
	reply_open(r, "processorInfo");
	const char *architectures[] = {
	    t->flags & TYPE_I386 ? "i386" : ec2_type_architecture(t),
	    t->flags & TYPE_I386 ? "x86_64" : NULL, NULL};
	write_list(r, "supportedArchitectures", architectures);
	reply_fmt(r, "sustainedClockSpeedInGhz", "%d.%d", t->clock / 10, t->clock % 10);
	reply_close(r);

	int cores = t->vcpus / t->threads;
	reply_open(r, "vCpuInfo");
	reply_int(r, "defaultVCpus", t->vcpus);
	reply_int(r, "defaultCores", cores);
	reply_int(r, "defaultThreadsPerCore", t->threads);
	reply_close(r);
	reply_open(r, "memoryInfo");
	reply_int(r, "sizeInMiB", t->memory_mib);
	reply_close(r);
}

/* AWS's own figures: a byte for every eight bits, three places at most. */
static void
write_throughput(struct reply *r, const char *name, int mbps)
{
	reply_fmt(r, name, "%d.%03d", mbps / 8, mbps % 8 * 125);
}

static void
write_disks(struct reply *r, const struct ec2_type *t)
{
	reply_bool(r, "instanceStorageSupported", t->disk_gb != 0);
	if (t->disk_gb) {
		reply_open(r, "instanceStorageInfo");
		reply_int(r, "totalSizeInGB", t->disk_gb);
		reply_open(r, "disks");
		reply_open(r, "item");
		reply_int(r, "sizeInGB", t->disk_gb);
		reply_int(r, "count", 1);
		reply_text(r, "type", "ssd");
		reply_close(r);
		reply_close(r);
		reply_text(r, "nvmeSupport", "required");
		reply_text(r, "encryptionSupport", "required");
		reply_close(r);
	}
	reply_open(r, "ebsInfo");
	reply_text(r, "ebsOptimizedSupport", t->ebs_max_mbps ? "default" : "unsupported");
	reply_text(r, "encryptionSupport", "supported");
	if (t->ebs_max_mbps) {
		reply_open(r, "ebsOptimizedInfo");
		reply_int(r, "baselineBandwidthInMbps", t->ebs_base_mbps);
		write_throughput(r, "baselineThroughputInMBps", t->ebs_base_mbps);
		reply_int(r, "baselineIops", t->ebs_base_iops);
		reply_int(r, "maximumBandwidthInMbps", t->ebs_max_mbps);
		write_throughput(r, "maximumThroughputInMBps", t->ebs_max_mbps);
		reply_int(r, "maximumIops", t->ebs_max_iops);
		reply_close(r);
	}
	reply_text(r, "nvmeSupport", nvme_support(t));
	reply_close(r);
}

static void
write_network(struct reply *r, const struct ec2_type *t)
{
	reply_open(r, "networkInfo");
	reply_text(r, "networkPerformance", t->network);
	reply_int(r, "maximumNetworkInterfaces", t->interfaces);
	reply_int(r, "maximumNetworkCards", 1);
	reply_int(r, "defaultNetworkCardIndex", 0);
	reply_open(r, "networkCards");
	reply_open(r, "item");
	reply_int(r, "networkCardIndex", 0);
	reply_text(r, "networkPerformance", t->network);
	reply_int(r, "maximumNetworkInterfaces", t->interfaces);
	reply_close(r);
	reply_close(r);
	reply_int(r, "ipv4AddressesPerInterface", t->addresses);
	reply_int(r, "ipv6AddressesPerInterface", t->addresses);
	reply_bool(r, "ipv6Supported", true);
	reply_text(r, "enaSupport", ena_support(t));
	reply_bool(r, "encryptionInTransitSupported", has(t, TYPE_ENCRYPTION));
	reply_close(r);
}

static void
write_gpu(struct reply *r, const struct ec2_type *t)
{
	if (!t->gpu)
		return;
	reply_open(r, "gpuInfo");
	reply_open(r, "gpus");
	reply_open(r, "item");
	reply_text(r, "name", t->gpu);
	reply_text(r, "manufacturer", "NVIDIA");
	reply_int(r, "count", 1);
	reply_open(r, "memoryInfo");
	reply_int(r, "sizeInMiB", t->gpu_memory_mib);
	reply_close(r);
	reply_close(r);
	reply_close(r);
	reply_int(r, "totalGpuMemoryInMiB", t->gpu_memory_mib);
	reply_close(r);
}

static void
write_type(struct reply *r, const struct ec2_type *t)
{
	reply_text(r, "instanceType", t->name);
	reply_bool(r, "currentGeneration", !has(t, TYPE_PREVIOUS));
	reply_bool(r, "freeTierEligible", has(t, TYPE_FREE));
	write_list(
	    r, "supportedUsageClasses", (const char *[]){"on-demand", "spot", NULL});
	write_list(r, "supportedRootDeviceTypes", (const char *[]){"ebs", NULL});
	write_list(r, "supportedVirtualizationTypes", (const char *[]){"hvm", NULL});
	reply_bool(r, "bareMetal", has(t, TYPE_METAL));
	if (!has(t, TYPE_METAL))
		reply_text(r, "hypervisor", has(t, TYPE_XEN) ? "xen" : "nitro");
	write_processor(r, t);
	write_disks(r, t);
	write_network(r, t);
	write_gpu(r, t);
	reply_open(r, "placementGroupInfo");
	const char *strategies[] = {
	    "partition", "spread", has(t, TYPE_CLUSTER) ? "cluster" : NULL, NULL};
	write_list(r, "supportedStrategies", strategies);
	reply_close(r);
	reply_bool(r, "hibernationSupported", has(t, TYPE_HIBERNATION));
	reply_bool(r, "burstablePerformanceSupported", has(t, TYPE_BURST));
	reply_bool(r, "dedicatedHostsSupported", has(t, TYPE_HOSTS));
	reply_bool(r, "autoRecoverySupported", !has(t, TYPE_METAL) && t->disk_gb == 0);
	const char *modes[] = {has(t, TYPE_BIOS) ? "legacy-bios" : "uefi",
	    has(t, TYPE_BIOS) && has(t, TYPE_UEFI) ? "uefi" : NULL, NULL};
	write_list(r, "supportedBootModes", modes);
}

static bool
is_asked_for(const char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return n == 0;
}

static void
check_types(struct request *q, const char *const *names, int n)
{
	AUTO_BUF struct buf unknown = BUF_INIT(400);
	for (int i = 0; i < n; i++) {
		if (ec2_type_find(names[i]))
			continue;
		buf_fmt(&unknown, "%s%s", unknown.len ? ", " : "", names[i]);
	}
	if (unknown.len)
		request_fail(q, "InvalidInstanceType",
		    "The following supplied instance types do not exist: [%s]",
		    unknown.data);
}

static void
describe_types(struct request *q)
{
	int n_names;
	AUTO_FREE const char **names = request_list(q, &n_names, "InstanceType");
	check_types(q, names, n_names);
	if (n_names > 0 && request_has(q, "MaxResults"))
		request_fail(q, "InvalidParameterCombination",
		    "The parameter instanceTypes cannot be used with the parameter "
		    "maxResults");
	struct page page;
	page_read(q, &page, 5, 100);
	struct filters *filters = filters_read(q, type_filters, false);
	if (!request_ready(q)) {
		filters_free(filters);
		return;
	}
	int n, row = 0;
	const struct ec2_type *types = ec2_types(&n);
	reply_open(&q->reply, "instanceTypeSet");
	for (int i = 0; i < n; i++) {
		const struct ec2_type *t = &types[i];
		if (!is_asked_for(names, n_names, t->name) || !filters_match(filters, t))
			continue;
		if (!page_holds(&page, row++))
			continue;
		reply_open(&q->reply, "item");
		write_type(&q->reply, t);
		reply_close(&q->reply);
	}
	reply_close(&q->reply);
	reply_text(&q->reply, "nextToken", page.next_token[0] ? page.next_token : NULL);
	filters_free(filters);
}

/* ---- DescribeInstanceTypeOfferings ---- */

enum location { LOCATION_REGION, LOCATION_ZONE, LOCATION_ZONE_ID };
static const char *const location_names[] = {
    "region", "availability-zone", "availability-zone-id", NULL};

struct offering {
	const struct ec2_type *type;
	char location[ZONE_NAME_MAX];
};

#define OFFERING(o) ((const struct offering *)(o))

OFFER(by_offered_type, OFFERING(o)->type->name)
OFFER(by_location, OFFERING(o)->location)

static const struct filter offering_filters[] = {
    {"instance-type", by_offered_type},
    {"location", by_location},
    {NULL},
};

static void
name_location(const struct region *r, enum location l, int i, char ret[ZONE_NAME_MAX])
{
	if (l == LOCATION_REGION)
		(void)snprintf(ret, ZONE_NAME_MAX, "%s", r->name);
	else if (l == LOCATION_ZONE)
		zone_name(r->info, i, ret);
	else
		zone_id(r->info, i, ret);
}

static void
write_offering(struct request *q, const struct offering *of, const char *location_type)
{
	reply_open(&q->reply, "item");
	reply_text(&q->reply, "instanceType", of->type->name);
	reply_text(&q->reply, "locationType", location_type);
	reply_text(&q->reply, "location", of->location);
	reply_close(&q->reply);
}

static void
describe_offerings(struct request *q)
{
	const char *by = request_choice(q, location_names, "region", "LocationType");
	enum location l = LOCATION_REGION;
	struct page page;

	while (location_names[l] && strcmp(location_names[l], by) != 0)
		l++;
	page_read(q, &page, 5, 1000);
	struct filters *filters = filters_read(q, offering_filters, false);
	if (request_ready(q)) {
		int n, row = 0;
		int n_locations = l == LOCATION_REGION ? 1 : zone_count(q->region->info);
		const struct ec2_type *types = ec2_types(&n);

		reply_open(&q->reply, "instanceTypeOfferingSet");
		for (int i = 0; i < n * n_locations; i++) {
			struct offering of = {.type = &types[i / n_locations]};

			name_location(q->region, l, i % n_locations, of.location);
			if (filters_match(filters, &of) && page_holds(&page, row++))
				write_offering(q, &of, by);
		}
		reply_close(&q->reply);
		reply_text(
		    &q->reply, "nextToken", page.next_token[0] ? page.next_token : NULL);
	}
	filters_free(filters);
}

/* ---- DescribeSpotPriceHistory ---- */

struct spot_price {
	const struct ec2_type *type;
	char zone[ZONE_NAME_MAX];
	char usd[16];
	int64_t at; /* wall ms */
};

#define SPOT(o) ((const struct spot_price *)(o))

OFFER(by_spot_type, SPOT(o)->type->name)
OFFER(by_spot_zone, SPOT(o)->zone)
OFFER(by_spot_price, SPOT(o)->usd)

static void
by_product(const void *o, struct offer *v)
{
	offer(v, "Linux/UNIX");
}

OFFER_TIME(by_spot_time, SPOT(o)->at)

static const struct filter spot_filters[] = {
    {"availability-zone", by_spot_zone},
    {"instance-type", by_spot_type},
    {"product-description", by_product},
    {"spot-price", by_spot_price},
    {"timestamp", by_spot_time},
    {NULL},
};

/* Spot prices follow a market that there is none of here: 30 to 46 % of the price on demand, by zone, and the same all day. */
static void
price_spot(const struct ec2_type *t, int zone, char ret[16])
{
	double share = 0.30 + 0.02 * ((t->vcpus + 3 * t->clock + 5 * zone) % 9);

	(void)snprintf(ret, 16, "%.6f", aws_price_usd_per_hour(t->name) * share);
}

static void
write_spot(struct request *q, const struct spot_price *p)
{
	reply_open(&q->reply, "item");
	reply_text(&q->reply, "availabilityZone", p->zone);
	reply_text(&q->reply, "instanceType", p->type->name);
	reply_text(&q->reply, "productDescription", "Linux/UNIX");
	reply_text(&q->reply, "spotPrice", p->usd);
	reply_time(&q->reply, "timestamp", p->at);
	reply_close(&q->reply);
}

static bool
product_is_ours(const char *const *products, int n)
{
	return is_asked_for(products, n, "Linux/UNIX") ||
	       is_asked_for(products, n, "Linux/UNIX (Amazon VPC)");
}

static void
describe_spot_prices(struct request *q)
{
	int n_names, n_products;
	AUTO_FREE const char **names = request_list(q, &n_names, "InstanceType");
	AUTO_FREE const char **products =
	    request_list(q, &n_products, "ProductDescription");
	const char *zone = request_text(q, "AvailabilityZone");
	struct page page;

	check_types(q, names, n_names);
	if (zone && zone_find(q->region->info, zone) < 0)
		request_fail(q, "InvalidParameterValue",
		    "Invalid availability zone: [%.64s]", zone);
	request_ignore(q, "StartTime");
	request_ignore(q, "EndTime");
	page_read(q, &page, 1, 1000);
	struct filters *filters = filters_read(q, spot_filters, false);
	if (request_ready(q)) {
		int n, row = 0, n_zones = zone_count(q->region->info);
		const struct ec2_type *types = ec2_types(&n);
		int64_t now = world_now(q->world), day = 24 * 60 * 60 * (int64_t)1000;

		reply_open(&q->reply, "spotPriceHistorySet");
		for (int i = 0; i < n * n_zones; i++) {
			struct spot_price p = {
			    &types[i / n_zones], .at = now - now % day};

			zone_name(q->region->info, i % n_zones, p.zone);
			price_spot(p.type, i % n_zones, p.usd);
			if (!is_asked_for(names, n_names, p.type->name) ||
			    (zone && strcmp(zone, p.zone) != 0) ||
			    !product_is_ours(products, n_products))
				continue;
			if (filters_match(filters, &p) && page_holds(&page, row++))
				write_spot(q, &p);
		}
		reply_close(&q->reply);
		reply_text(
		    &q->reply, "nextToken", page.next_token[0] ? page.next_token : NULL);
	}
	filters_free(filters);
}

const struct action type_actions[] = {
    {"DescribeInstanceTypeOfferings", describe_offerings, ACTION_READ},
    {"DescribeInstanceTypes", describe_types, ACTION_READ},
    {"DescribeSpotPriceHistory", describe_spot_prices, ACTION_READ},
    {NULL},
};
