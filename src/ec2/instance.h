/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_INSTANCE_H
#define EC2_INSTANCE_H

/*
 * Instances: the states that the API shows, and the work behind them. See docs/states.md.
 */

#include "ec2/objects.h"

struct backend_event;
struct reservation;

/*
 *  PENDING → RUNNING ⇄ STOPPING → STOPPED → PENDING
 *      └────────┴──────────┴─────────┴──→ SHUTTING_DOWN → TERMINATED
 */
enum instance_state {
	INSTANCE_PENDING,
	INSTANCE_RUNNING,
	INSTANCE_SHUTTING_DOWN,
	INSTANCE_TERMINATED,
	INSTANCE_STOPPING,
	INSTANCE_STOPPED,
	INSTANCE_STATE_MAX,
};

extern const struct instance_state_info {
	const char *name;
	int code; /* of InstanceState */
} instance_state_info[INSTANCE_STATE_MAX];

/* What one RunInstances made has in common. */
struct reservation {
	struct object o; /* "r-..." */
	char *key_name;
	char *public_key; /* of the key pair, at that time; NULL: launched without */
	char *user_data;  /* base64, as given; NULL: none */
	char *client_token;
	int64_t n; /* instances that still point here; counted, not stored */
};
extern const struct kind kind_reservation;

/* What is under way for it. A work ends when both the scenario's delay has passed and the backend has answered;
   then instance.c moves the state. */
enum instance_work {
	WORK_NONE,
	WORK_PLACE,    /* PENDING: backend.place */
	WORK_WAKE,     /* PENDING of one that was stopped: the delay alone */
	WORK_BOOT_DUE, /* RUNNING: the delay alone, sshd is not up yet */
	WORK_BOOT,     /* PENDING or RUNNING: backend.on */
	WORK_OFF,      /* STOPPING: backend.off */
	WORK_REBOOT,   /* RUNNING: backend.reboot */
	WORK_REMOVE,   /* SHUTTING_DOWN: backend.remove */
	WORK_SHOWN,    /* TERMINATED: the delay until it is forgotten */
	WORK_MAX,
};

struct instance {
	struct object o;
	char *reservation_id;
	char *image, *type, *zone, *architecture, *root_device;
	char *profile;	 /* of IAM: ARN; NULL: none */
	char *user_data; /* base64; replaces the reservation's; NULL: not replaced */
	int64_t launch_index;
	int64_t launched_at; /* wall ms: of the last start */

	int64_t state;	  /* enum instance_state; moved by instance.c alone */
	int64_t work;	  /* enum instance_work */
	bool answered;	  /* the backend has done its part of the work */
	int64_t boot_how; /* enum backend_on, of WORK_BOOT_DUE and WORK_BOOT */
	int64_t state_before, stale_until; /* what a stale describe shows */
	char *reason; /* "User initiated (2026-11-22 05:42:33 GMT)" */
	char *reason_code, *reason_message; /* stateReason */
	int64_t addresses_hidden_until;
	bool was_up;	      /* sshd has accepted since the last start */
	int64_t checks_ok_at; /* wall ms: its status checks pass; 0: it is not up */
	bool hibernate;	      /* WORK_OFF: with its memory kept */
	bool hibernated;      /* stopped with its memory kept */
	bool forced;	      /* WORK_OFF: at once */
	bool no_sshd;	      /* fault: it never boots */
	char *fate;	      /* fault: dies while pending, of this reason; NULL: no */

	bool hibernation; /* configured at launch */
	bool terminate_on_shutdown;
	bool no_api_termination, no_api_stop;
	bool monitoring, ebs_optimized;
	bool imds_disabled, imds_token_required, imds_tags;
	int64_t imds_hop_limit;
	char *spot_request;	/* id; NULL: on demand */
	int64_t spot_notice_at; /* wall ms of the interruption to come; 0: none */
	char *spot_action;	/* terminate, stop, hibernate */
	char *backend_ref; /* the backend's own name for it; it calls object_changed() */

	void *backend_data; /* owned by the backend */
	struct reservation *reservation;
	struct list volumes, interfaces; /* tied to it; interfaces by device index */
};
extern const struct kind kind_instance;

static inline struct instance *
instance_of(struct object *o)
{
	return (struct instance *)o;
}

/* The first interface; NULL once it is terminated. */
struct interface *instance_primary(const struct instance *i);
const char *instance_private_address(const struct instance *i); /* NULL: none */
const char *instance_public_address(const struct instance *i);	/* NULL: none */
const char *instance_user_data(const struct instance *i);	/* base64; NULL: none */

/* "ip-10-214-0-6" and, with domain, "ip-10-214-0-6.us-west-2.compute.internal". */
#define INSTANCE_HOSTNAME_MAX 96
void instance_hostname(
    const struct instance *i, bool domain, char ret[INSTANCE_HOSTNAME_MAX]);

/* What a describe shows: may be older than i->state. */
enum instance_state instance_shown_state(const struct instance *i);

/* ---- moving it: every one but launch and removal needs a state that allows it ---- */

/* From a new object on: PENDING. */
void instance_launch(struct instance *i);

/* From STOPPED: PENDING. */
void instance_start(struct instance *i);

/* From RUNNING: STOPPING. `code` and `message` become its stateReason. */
void instance_stop(struct instance *i, bool hibernate, bool force, const char *reason,
    const char *code, const char *message);
void instance_reboot(struct instance *i);

/* From anything but SHUTTING_DOWN and TERMINATED: SHUTTING_DOWN. */
void instance_terminate(
    struct instance *i, const char *reason, const char *code, const char *message);

/* "User initiated (2026-11-22 05:42:33 GMT)" */
#define INSTANCE_REASON_MAX 64
void instance_user_reason(const struct instance *i, char ret[INSTANCE_REASON_MAX]);

/* For struct backend_env. */
void instance_on_event(void *arg, struct instance *i, const struct backend_event *e);

/* The backend is about to close: backend_data of all is dropped. */
void world_forget_machines(struct world *w);

#endif
