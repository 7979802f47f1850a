/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_TYPES_H
#define EC2_TYPES_H

/*
 * Instance types: what DescribeInstanceTypes says of those that people use, in the sizes that they use. Source: AWS's own
 * replies for us-east-1 as moto keeps them (moto/ec2/resources/instance_types.json, August 2026).
 */

enum type_flags {
	TYPE_ARM = 1,	    /* arm64; x86_64 else */
	TYPE_I386 = 1 << 1, /* i386, too */
	TYPE_INTEL = 1 << 2,
	TYPE_AMD = 1 << 3,
	TYPE_XEN = 1 << 4, /* no NVMe, no ENA; Nitro else */
	TYPE_METAL = 1 << 5,
	TYPE_BURST = 1 << 6, /* CPU credits */
	TYPE_HIBERNATION = 1 << 7,
	TYPE_PREVIOUS = 1 << 8, /* generation */
	TYPE_FREE = 1 << 9,	/* tier */
	TYPE_SHARED = 1 << 10,	/* interfaces count against the bound of volumes */
	TYPE_BIOS = 1 << 11,	/* boot modes */
	TYPE_UEFI = 1 << 12,
	TYPE_ENCRYPTION = 1 << 13, /* in transit */
	TYPE_CLUSTER = 1 << 14,	   /* placement strategy */
	TYPE_HOSTS = 1 << 15,	   /* dedicated ones */
};

struct ec2_type {
	const char *name;
	int memory_mib;
	int vcpus, threads;	   /* threads: per core */
	int clock;		   /* tenths of GHz */
	int interfaces, addresses; /* addresses: IPv4, per interface */
	int volumes; /* attached at most, beside the first interface where they share a bound */
	int ebs_base_mbps, ebs_max_mbps, ebs_base_iops, ebs_max_iops; /* 0: Xen */
	const char *network; /* "Up to 12.5 Gigabit" */
	unsigned flags;
	const char *gpu; /* name; NULL: none */
	int gpu_memory_mib;
	int disk_gb; /* one NVMe disk of the host; 0: none */
};

/* In the order of the catalogue, *ret_n of them. */
const struct ec2_type *ec2_types(int *ret_n);

/* NULL: not known. */
const struct ec2_type *ec2_type_find(const char *name);

/* "x86_64" or "arm64". */
const char *ec2_type_architecture(const struct ec2_type *t);

#endif
