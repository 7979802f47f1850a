/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_FAKE_WORLD_H
#define PROVIDER_FAKE_WORLD_H

/*
 * What exists at the fake provider: a file of fixed-size records, mapped and shared, so that a change is
 * a store to memory, without a system call, and is there after kill -9 of the process (a crash of the
 * host may lose it: its machines are gone then, too). Records never move while it is open.
 */

#include <stdint.h>

#include "base/err.h"
#include "base/id.h"

/* FAKE_STOPPED with ready_at set: still stopping until then. */
enum fake_state { FAKE_FREE, FAKE_ALIVE, FAKE_DEAD, FAKE_ENDING, FAKE_STOPPED };

struct fake_record {
	uint32_t state;
	uint32_t stray : 1; /* bears no token; the one here is its name among us */
	uint32_t home : 31; /* whose shared home is in it: the uid and one; 0: nobody's */
	char token[ID_MAX];
	union {
		char image_version[16];
		char attached_to[ID_MAX]; /* a disk: the machine's token; empty: none */
	};
	int64_t created_at; /* wall ms, as all of them */
	int64_t ready_at;
	int64_t dies_at; /* 0: does not */
	int64_t ends_at; /* lease, deadline or termination; 0: none */
};

#define FAKE_IMAGE_NAME_MAX 64
#define FAKE_VERSION_MAX 16
#define FAKE_IMAGES_MAX 40

struct fake_image {
	char name[FAKE_IMAGE_NAME_MAX]; /* empty: unused */
	char version[FAKE_VERSION_MAX];
};

struct fake_world;

/* `path` NULL: in memory. The file is made if it is not there, 0600. */
int fake_world_open(const char *path, struct fake_world **ret, struct err *err) ERR_CHECK;
void fake_world_close(struct fake_world *w);

/* A zeroed record; NULL and ERR_UNAVAILABLE when the disk is full. It counts from when its state is set. */
struct fake_record *fake_world_add(struct fake_world *w, struct err *err);
void fake_world_remove(struct fake_world *w, struct fake_record *r);

/* Number of records, free ones included, and the i-th. */
int fake_world_size(const struct fake_world *w);
struct fake_record *fake_world_at(const struct fake_world *w, int i);
int fake_world_index(const struct fake_world *w, const struct fake_record *r);

/* The image of that name, made with version "1"; NULL where the name is too long or they are too many. */
struct fake_image *fake_world_image(struct fake_world *w, const char *name);

#endif
