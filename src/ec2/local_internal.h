/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_LOCAL_INTERNAL_H
#define EC2_LOCAL_INTERNAL_H

/* What the files of the local backend share: local.c has the table and the start, local_machine.c what an instance's
   machine goes through, local_address.c addresses, local_image.c images, local_key.c keys, local_metadata.c the sockets
   of the metadata service. */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/clock.h"
#include "base/list.h"
#include "ec2/backend.h"
#include "launcher/protocol.h"

struct config;
struct control;
struct http_server;
struct imds_tokens;
struct launcher_client;

/* By this name from the runtime directory, where the process stands: directories above it may be closed to its user. */
#define LOCAL_LAUNCHER_SOCKET "launcher.sock"

struct local {
	struct backend base;
	struct backend_env env;
	struct launcher_client *launcher; /* owned */
	struct list machines;

	uint32_t network; /* its first address, host byte order */
	uint32_t n_slots;
	uint8_t *slots; /* owned: used or not; [0] is never used */
	char network_text[20];

	bool
	    listed; /* it is known which machines there are; until then nothing is begun */
	char image[LAUNCHER_NAME_MAX]; /* what the catalogue's images stand for */
	bool image_ready;
	char image_says[128]; /* what its build was last heard to do */
	struct timer image_again;

	struct http_server *metadata; /* owned: requests from all machines */
	uint64_t last_tag;

	struct list jobs; /* keys on their way, images in the making */
	struct timer list_again;
	bool closing;
};

static inline struct local *
local_of(struct backend *b)
{
	return (struct local *)b;
}

/*
 *  OFF → STARTING → BOOTING ⇄ UP → ENDING → STOPPING → OFF
 *                      ├──────┴→ FREEZING → FROZEN → THAWING → BOOTING or UP
 *  any → REMOVING → GONE
 */
enum lstate {
	LOCAL_OFF,
	LOCAL_STARTING,
	LOCAL_BOOTING,
	LOCAL_UP,
	LOCAL_ENDING, /* told to shut down: the end of its control connection is awaited */
	LOCAL_STOPPING,
	LOCAL_FREEZING,
	LOCAL_FROZEN,
	LOCAL_THAWING,
	LOCAL_REMOVING,
	LOCAL_GONE,
	LOCAL_STATE_MAX,
};

enum lasked {
	ASKED_NOTHING,
	ASKED_PLACE,
	ASKED_ON_FIRST,
	ASKED_ON_AGAIN,
	ASKED_RESUME,
	ASKED_OFF,
	ASKED_OFF_FORCE,
	ASKED_HIBERNATE,
	ASKED_REBOOT,
	ASKED_REMOVE,
};

struct lmachine {
	struct local *l;
	struct instance *i; /* borrowed; NULL: forgotten */
	struct list in_local;
	char id[LAUNCHER_ID_MAX];
	enum lstate state;
	enum lasked asked;
	int calls;	/* of the launcher, under way, that come back here */
	bool busy;	/* one of them is to change the state */
	bool dirty;	/* OFF, but something may be left to sweep */
	bool adopted;	/* found at the start: that it is up is news */
	bool was_up;	/* before it was frozen */
	bool told;	/* a reboot or an end was asked of hearth-init */
	bool shut_down; /* by itself: hearth-init said so */
	bool rebooting;
	bool died;    /* unasked: to be told once swept */
	int failures; /* of the call that is tried again */
	struct timer soon, patience;
	struct control *watch;	    /* owned; NULL: not connected */
	int console_fd;		    /* owned; -1: none */
	uint64_t tag;		    /* of its metadata requests */
	struct imds_tokens *tokens; /* owned; NULL: it has asked for none */
	uv_poll_t *listener;	    /* owned; NULL: none */
	int listener_fd;
};

/* ---- local_machine.c ---- */

/* The machine of an instance, made where there is none. */
struct lmachine *local_machine(struct local *l, struct instance *i);

/* Does what is asked, as far as it can be done now; from the loop, later. */
void local_machine_soon(struct lmachine *m);
void local_machine_ask(struct lmachine *m, enum lasked what);

/* What the launcher's list says of it; NULL: nothing. */
void local_machine_found(struct lmachine *m, const struct launcher_reply *r);

/* Drops everything but the machine itself. */
void local_machine_forget(struct lmachine *m);

/* The answer to a call for it is here; frees it if it was forgotten meanwhile: true. */
bool local_machine_called(struct lmachine *m);

/* "m-" and twelve letters and digits, made of the instance's id. */
void local_machine_id(const char *instance_id, char ret[LAUNCHER_ID_MAX]);

/* ---- local_address.c ---- */

int local_addresses_init(struct local *l, const char *network, struct err *err) ERR_CHECK;

/* The slot of an address; 0: it is none of a machine's. */
uint32_t local_slot(const struct local *l, const char *address);
int local_address_take(struct backend *b, const struct subnet *s, const char *wanted,
    char ret[BACKEND_ADDRESS_MAX], struct err *err) ERR_CHECK;
void local_address_free(struct backend *b, const struct subnet *s, const char *address);
int local_public_take(struct backend *b, const char *private_address, const char *wanted,
    char ret[BACKEND_ADDRESS_MAX], struct err *err) ERR_CHECK;
void local_public_free(struct backend *b, const char *address);

/* ---- local_image.c ---- */

/* Finds the image, or has it built, for as long as it takes; then all that wait go on. */
void local_image_need(struct local *l);
void local_save_image(struct backend *b, struct instance *i, struct image *image,
    backend_done_fn done, void *arg);
void local_remove_image(struct backend *b, struct image *image);

/* What the instance boots from, as the launcher knows it. */
const char *local_image_of(const struct local *l, const struct instance *i);

/* ---- local_key.c ---- */

void local_push_key(struct backend *b, struct instance *i, const char *user,
    const char *key, int seconds, backend_done_fn done, void *arg);
void local_keys_close(struct local *l);

/* ---- local_metadata.c ---- */

int local_metadata_init(struct local *l, struct err *err) ERR_CHECK;

/* Asks for the socket inside the machine and serves what connects to it. */
void local_metadata_open(struct lmachine *m);
void local_metadata_close(struct lmachine *m);
void local_metadata_fini(struct local *l);

#endif
