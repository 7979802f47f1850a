/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_PROTOCOL_H
#define LAUNCHER_PROTOCOL_H

/*
 * What hearthd and hearth-launcher say to each other: one request per SOCK_SEQPACKET connection, one
 * fixed structure per packet, no parsing. The launcher serves each connection in a process of its
 * own. It trusts nothing in a request: every string must be NUL-terminated within its array and of
 * its own alphabet, every number within the limits the launcher was started with. Both programs come
 * from one build, so the version is only a check.
 *
 * A request is followed by one or more replies: LIST one per machine, disk and snapshot and a last one, BUILD_IMAGE one per progress
 * step and a last one, all others one. `last` marks the last.
 *
 * Instances are machines of hearth-ec2: they keep their disk when they stop, run the image's own sshd and user data, and
 * have a metadata service. Only a launcher that was started with --instances makes them, and that one makes nothing else.
 */

#include <stdint.h>

#define LAUNCHER_MAGIC 0x68727468u /* "hrth" */
#define LAUNCHER_VERSION 2u

#define LAUNCHER_ID_MAX 16   /* "m-" and 12 of [0-9a-z], see base/id.h */
#define LAUNCHER_NAME_MAX 64 /* image or pool name, see name_valid() */
#define LAUNCHER_VERSION_MAX 64
#define LAUNCHER_SLOT_MAX 32000u
#define LAUNCHER_DISK_MIN (1ull << 20) /* bytes */
#define LAUNCHER_DISK_MAX (64ull << 40)

enum launcher_op {
	LAUNCHER_CREATE =
	    1, /* makes the machine `id`; idempotent: if it lives, says where it is */
	LAUNCHER_KILL, /* ends machine `id` and removes all that belongs to it; idempotent */
	LAUNCHER_LIST, /* every machine, disk and snapshot there is a trace of: alive or leftovers */
	LAUNCHER_BUILD_IMAGE, /* builds a new version of image `image` and makes it current */
	LAUNCHER_REMOVE_IMAGE, /* removes version `image_version` of `image`; refused while used */
	LAUNCHER_FIND_IMAGE, /* which version of `image` is current; ERR_NOT_FOUND: none is built */
	LAUNCHER_OPEN_CONFIG, /* passes a read-only descriptor of the configuration file (SCM_RIGHTS) */
	LAUNCHER_JOIN, /* machine `id` and all others that joined `gang`, number `gang_number`, reach each other from
			  now on, as long as they live; idempotent. A machine is of one gang for good */

	/* With --instances only. */
	LAUNCHER_START, /* makes instance `id`, or starts it from the disk it has; idempotent */
	LAUNCHER_STOP, /* ends what runs in it; disk, slot and address stay; idempotent */
	LAUNCHER_FREEZE, /* halts it in memory and takes its link down; idempotent */
	LAUNCHER_THAW,	 /* undoes that; idempotent */
	LAUNCHER_SAVE_IMAGE, /* its disk, as it stands, becomes image `image`; it is frozen while
				that is copied. Fine when that image is there */
	LAUNCHER_DROP_IMAGE, /* `image` can be used for nothing new; goes with its last user */
	LAUNCHER_CONSOLE, /* passes a read-only descriptor of what it said on its console */
	LAUNCHER_OPEN_METADATA, /* passes a listening socket for what is sent in its network to
				   LAUNCHER_METADATA_ADDRESS, port 80 */

	/* A user's shared home; see home.h. No request removes one. */
	LAUNCHER_MAKE_HOME, /* there is one for home_uid; idempotent */
	LAUNCHER_MOUNT_HOME, /* home_uid's appears at /shared in machine `id`, which runs; idempotent */

	/* Users' disks, "d-...", and their snapshots, "s-...": not with --instances. */
	LAUNCHER_DISK_MAKE, /* makes `disk`: an empty file system of size_bytes, or what the snapshot
			       `source` holds, grown to that. Answered when it is there; idempotent */
	LAUNCHER_DISK_SNAPSHOT, /* makes the snapshot `disk` of what the disk `source` holds now; as MAKE */
	LAUNCHER_DISK_REMOVE, /* removes either kind; ends its making; refused while attached; idempotent */
	LAUNCHER_DISK_ATTACH, /* `disk` appears in machine `id` at /disk/`disk_name`. The reply's message
				 says why it is read-only; empty: it is not. Idempotent */
	LAUNCHER_DISK_DETACH, /* `disk` leaves machine `id`, which may be gone, whoever uses it there; idempotent */
	LAUNCHER_OP_END
};

#define LAUNCHER_METADATA_ADDRESS "169.254.169.254"

struct launcher_request {
	uint32_t magic;
	uint32_t version;
	uint32_t op; /* enum launcher_op */

	char id[LAUNCHER_ID_MAX]; /* whatever is for one machine */
	char image
	    [LAUNCHER_NAME_MAX]; /* CREATE, START and all that have IMAGE in their name */
	char image_version[LAUNCHER_VERSION_MAX]; /* CREATE, START: empty = current */

	/* CREATE and, but for keys and lease, START. The slot decides uid range and addresses; the caller keeps slots unique. */
	uint32_t slot;
	uint32_t pids_max;     /* 0 = launcher's default */
	uint64_t memory_bytes; /* 0 = launcher's default */
	uint32_t cpu_milli;    /* thousandths of a CPU; 0 = no limit */
	uint32_t
	    allow_nesting; /* 1 = the seccomp list that lets user namespaces be made inside */
	uint64_t lease_s; /* the machine ends itself this many seconds after birth */
	char hostname[LAUNCHER_NAME_MAX];
	char host_key[1024];  /* OpenSSH private key, text */
	char host_cert[2048]; /* one line */
	char user_ca
	    [512]; /* one line: the public key every login certificate must be signed by */

	char gang[LAUNCHER_ID_MAX]; /* JOIN: the id of a reservation */
	uint32_t gang_number; /* JOIN: above 0; the caller gives each gang its own */

	uint32_t
	    needs_disk;	   /* START: 1 = only from the disk it has; ERR_NOT_FOUND else */
	uint32_t home_uid; /* MAKE_HOME, MOUNT_HOME: whose; not 2^32-1, which is nobody */

	char disk[LAUNCHER_ID_MAX];	   /* DISK_... */
	char source[LAUNCHER_ID_MAX];	   /* DISK_SNAPSHOT; DISK_MAKE, or empty */
	char disk_name[LAUNCHER_NAME_MAX]; /* DISK_ATTACH */
	uint64_t size_bytes;		   /* DISK_MAKE */
};

enum launcher_machine_state {
	LAUNCHER_ALIVE = 1,
	LAUNCHER_DEAD, /* PID 1 is gone, something is left: KILL sweeps it */
	LAUNCHER_ABSENT,
	LAUNCHER_STOPPED, /* an instance that does not run, by STOP or by itself; START goes on */
	LAUNCHER_FROZEN, /* an instance after FREEZE */
	LAUNCHER_MAKING, /* a disk or snapshot that is being made; after that it is ALIVE */
};

struct launcher_reply {
	uint32_t magic;
	uint32_t version;
	uint32_t last;
	int32_t error;	   /* enum err_code; ERR_NONE when it worked */
	char message[384]; /* the error, or what BUILD_IMAGE is doing */

	uint32_t state; /* enum launcher_machine_state */
	uint32_t slot;
	char gang[LAUNCHER_ID_MAX]; /* what it joined; empty: none */
	uint32_t gang_number;
	uint32_t percent; /* BUILD_IMAGE: 0 to 100 */
	uint32_t pid;	  /* of PID 1, in the host's pid namespace */
	char id[LAUNCHER_ID_MAX];
	char image[LAUNCHER_NAME_MAX];
	char image_version
	    [LAUNCHER_VERSION_MAX]; /* also BUILD_IMAGE's and SAVE_IMAGE's result */
	char address[16];	    /* IPv4, dotted; empty where there is none */
	uint64_t created_at_ms;	    /* wall clock */

	char machine
	    [LAUNCHER_ID_MAX]; /* of a disk: where it is attached; empty: nowhere */
	uint64_t size_bytes;   /* of a disk or snapshot */
};

#endif
