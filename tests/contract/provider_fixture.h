/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTRACT_PROVIDER_FIXTURE_H
#define CONTRACT_PROVIDER_FIXTURE_H

/* A provider, what it has sighted, and synchronous forms of its operations. */

#include <stdint.h>

#include "provider/provider.h"

#define SEEN_MAX 64

struct seen_machine {
	char token[ID_MAX];
	char ref[64];
	char address[64];
	int port;
	enum sighting_state state;
	bool was_starting;
};

/* What a `done` said. `calls` is how often it was called. */
struct answer {
	int calls;
	struct err err;
	char ref[64];
	int exit_code;
	char output[256];
	char warning[256];
	int n;
};

struct provider_kind_ops;

struct provider_fixture {
	const struct provider_kind_ops *kind;
	struct provider *provider; /* NULL while closed */
	struct clock *clock;
	void *world; /* the kind's own */
	char path[96];
	const char *image;
	const char *host_key; /* what machines are launched with; NULL: none is needed */
	const char *host_cert;
	const char *user_ca;
	const char *options; /* of the pool; NULL: none */
	enum tier tier;	     /* of machines that are launched */
	bool cannot_hibernate;
	bool
	    lax_disks; /* the service lets two machines have a disk, and makes one from nothing */
	char image_version[32];
	char image_error[128];
	struct seen_machine seen[SEEN_MAX];
	int n_seen;
	struct seen_machine listed[SEEN_MAX]; /* the last inventory */
	int n_listed;
	int64_t turns;
};

/* How the suite is wired to one kind of provider: all that a new one has to bring. */
struct provider_kind_ops {
	const char *name;

	int slack_ms;	    /* how much later than told a machine's own end may be seen */
	bool nobody_inside; /* no command can be run in its machines */
	bool
	    holds_data; /* its machines run any command, and its disks keep what that writes */

	bool no_devices; /* what is attached to its machines has no device there */

	/* false, having said why: the test is skipped. */
	bool (*possible)(void);

	/* Opens fx->provider with the fixture's callbacks; sets fx->clock and fx->image. */
	int (*open)(struct provider_fixture *fx);

	/* Sets fx->host_key and the like for the machine that is launched next. NULL: open did. */
	void (*prepare)(struct provider_fixture *fx, const char *token);

	/* Lets up to `ms` of time go by, and callbacks be called. */
	void (*turn)(struct provider_fixture *fx, int64_t ms);

	/* After the provider was closed; `final`: nothing may be left. */
	void (*closed)(struct provider_fixture *fx, bool final);
};

extern const struct provider_kind_ops provider_kind_fake;
extern const struct provider_kind_ops provider_kind_local;
extern const struct provider_kind_ops provider_kind_ec2;
extern const struct provider_kind_ops provider_kind_ec2_fake;

bool provider_fixture_possible(void);
int provider_fixture_open(struct provider_fixture *fx);
void provider_fixture_close(struct provider_fixture *fx);

/* Closes and opens, with `ms` going by in between. */
void provider_fixture_restart(struct provider_fixture *fx, int64_t ms);

/* The callbacks to open a provider with. */
struct provider_env provider_fixture_env(struct provider_fixture *fx);

struct answer provider_fixture_launch(
    struct provider_fixture *fx, const char *token, int64_t lease_s);
void provider_fixture_start_launch(
    struct provider_fixture *fx, const char *token, int64_t lease_s, struct answer *a);
void provider_fixture_wait_answer(struct provider_fixture *fx, struct answer *a);
struct answer provider_fixture_terminate(struct provider_fixture *fx, const char *token);
struct answer provider_fixture_stop(
    struct provider_fixture *fx, const char *token, bool hibernate);
struct answer provider_fixture_start(
    struct provider_fixture *fx, const char *token, int64_t lease_s);
struct answer provider_fixture_deadline(
    struct provider_fixture *fx, const char *token, int64_t seconds);
struct answer provider_fixture_setup(struct provider_fixture *fx, const char *token,
    const char *command, int64_t timeout_ms);
struct answer provider_fixture_contact(
    struct provider_fixture *fx, const char *token, const char *address, int port);

void provider_fixture_start_disk_make(struct provider_fixture *fx, const char *token,
    int64_t size_bytes, const char *source_ref, struct answer *a);
struct answer provider_fixture_disk_make(struct provider_fixture *fx, const char *token,
    int64_t size_bytes, const char *source_ref);
struct answer provider_fixture_disk_snapshot(
    struct provider_fixture *fx, const char *token, const char *disk_ref);
struct answer provider_fixture_disk_remove(
    struct provider_fixture *fx, const char *token);
struct answer provider_fixture_disk_attach(
    struct provider_fixture *fx, const char *disk, const char *machine, const char *name);
struct answer provider_fixture_disk_detach(
    struct provider_fixture *fx, const char *disk, const char *machine, const char *name);
void provider_fixture_on_attached(void *arg, const char *warning, const struct err *err);

/* How many machines, disks and snapshots there are; also fills `listed`. */
int provider_fixture_inventory(struct provider_fixture *fx);

void provider_fixture_on_done(void *arg, const struct err *err);
void provider_fixture_on_setup(
    void *arg, int exit_code, const char *output, const struct err *err);
void provider_fixture_on_inventory(
    void *arg, const struct sighting *all, int n, const struct err *err);

/* Waits, 20 s at most, until a machine was sighted so; and the last sighting of it, or NULL. */
const struct seen_machine *provider_fixture_await(
    struct provider_fixture *fx, const char *token, enum sighting_state state);

/* GONE or DEAD. */
void provider_fixture_await_end(struct provider_fixture *fx, const char *token);
void provider_fixture_await_image(struct provider_fixture *fx);
const struct seen_machine *provider_fixture_seen(
    struct provider_fixture *fx, const char *token);
const struct seen_machine *provider_fixture_listed(
    struct provider_fixture *fx, const char *token);
int64_t provider_fixture_now_ms(struct provider_fixture *fx);

#endif
