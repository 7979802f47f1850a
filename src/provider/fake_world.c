/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/fake_world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

#define MAGIC UINT64_C(0x316b616668747268) /* "hrthfak1" */
#define HEADER_SIZE 4096
#define CHUNK_RECORDS 512
#define CHUNK_SIZE                                                                       \
	(CHUNK_RECORDS * sizeof(struct fake_record)) /* a whole number of pages */
#define CHUNKS_MAX 4096

struct header {
	uint64_t magic;
	uint64_t record_size;
	struct fake_image images[FAKE_IMAGES_MAX];
};

_Static_assert(sizeof(struct header) <= HEADER_SIZE, "the header is one page");
_Static_assert(CHUNK_SIZE % 4096 == 0, "a chunk is whole pages");

struct fake_world {
	int fd; /* -1: in memory */
	struct header *header;
	struct fake_record *chunks[CHUNKS_MAX];
	int n_chunks;
	int *free; /* owned: stack of unused indexes */
	int n_free;
};

static void *
map(struct fake_world *w, off_t at, size_t size, struct err *err)
{
	int flags = w->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *p =
	    mmap(NULL, size, PROT_READ | PROT_WRITE, flags, w->fd, w->fd < 0 ? 0 : at);

	if (p != MAP_FAILED)
		return p;
	err_errno(err, errno, "cannot map the world of the fake provider");
	return NULL;
}

static off_t
chunk_offset(int i)
{
	return HEADER_SIZE + (off_t)i * (off_t)CHUNK_SIZE;
}

/* The blocks are reserved first: writing to a mapped hole of a full disk would be SIGBUS. */
static int
reserve(struct fake_world *w, off_t at, size_t size, struct err *err)
{
	int rc = w->fd < 0 ? 0 : posix_fallocate(w->fd, at, (off_t)size);

	return rc == 0
		   ? 0
		   : err_errno(err, rc, "cannot enlarge the world of the fake provider");
}

static int
add_chunk(struct fake_world *w, struct err *err)
{
	int i = w->n_chunks;
	void *p;

	if (i == CHUNKS_MAX)
		return err_set(err, ERR_NO_CAPACITY,
		    "%d fake machines are the most there can be",
		    CHUNKS_MAX * CHUNK_RECORDS);
	if (reserve(w, chunk_offset(i), CHUNK_SIZE, err) < 0)
		return -1;
	p = map(w, chunk_offset(i), CHUNK_SIZE, err);
	if (!p)
		return -1;
	w->chunks[i] = p;
	w->n_chunks++;
	w->free =
	    xrealloc(w->free, (size_t)w->n_chunks * CHUNK_RECORDS * sizeof(*w->free));
	for (int k = w->n_chunks * CHUNK_RECORDS - 1; k >= i * CHUNK_RECORDS; k--)
		if (fake_world_at(w, k)->state == FAKE_FREE)
			w->free[w->n_free++] = k;
	return 0;
}

static int
open_file(struct fake_world *w, const char *path, off_t *ret_size, struct err *err)
{
	struct stat st;

	w->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (w->fd < 0 || fstat(w->fd, &st) < 0)
		return err_errno(err, errno, "cannot open %s", path);
	if (flock(w->fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, ERR_CONFLICT, "%s: in use by another process", path);
	*ret_size = st.st_size;
	return 0;
}

static int
check_header(struct fake_world *w, const char *path, off_t size, struct err *err)
{
	if (size == 0) {
		w->header->record_size = sizeof(struct fake_record);
		w->header->magic = MAGIC;
	}
	if (w->header->magic != MAGIC ||
	    w->header->record_size != sizeof(struct fake_record)) {
		err_set(err, ERR_INVALID, "%s: not the world of a fake provider", path);
		return err_hint(err, "move it away");
	}
	return 0;
}

/* A process killed while it added a chunk leaves one that is cut short: it is dropped, being empty. */
static int
open_world(struct fake_world *w, const char *path, struct err *err)
{
	off_t size = 0;

	if (path && open_file(w, path, &size, err) < 0)
		return -1;
	if (size > 0 && size < HEADER_SIZE)
		return err_set(
		    err, ERR_INVALID, "%s: not the world of a fake provider", path);
	if (size == 0 && reserve(w, 0, HEADER_SIZE, err) < 0)
		return -1;
	w->header = map(w, 0, HEADER_SIZE, err);
	if (!w->header || check_header(w, path, path ? size : 0, err) < 0)
		return -1;
	while (chunk_offset(w->n_chunks + 1) <= size)
		if (add_chunk(w, err) < 0)
			return -1;
	return 0;
}

int
fake_world_open(const char *path, struct fake_world **ret, struct err *err)
{
	struct fake_world *w = xnew(struct fake_world);

	w->fd = -1;
	if (open_world(w, path, err) < 0) {
		fake_world_close(w);
		return -1;
	}
	*ret = w;
	return 0;
}

void
fake_world_close(struct fake_world *w)
{
	if (!w)
		return;
	for (int i = 0; i < w->n_chunks; i++)
		munmap(w->chunks[i], CHUNK_SIZE);
	if (w->header)
		munmap(w->header, HEADER_SIZE);
	if (w->fd >= 0)
		close(w->fd);
	free(w->free);
	free(w);
}

struct fake_record *
fake_world_add(struct fake_world *w, struct err *err)
{
	struct fake_record *r;

	if (w->n_free == 0 && add_chunk(w, err) < 0)
		return NULL;
	r = fake_world_at(w, w->free[--w->n_free]);
	memset(r, 0, sizeof(*r));
	return r;
}

void
fake_world_remove(struct fake_world *w, struct fake_record *r)
{
	r->state = FAKE_FREE;
	w->free[w->n_free++] = fake_world_index(w, r);
}

int
fake_world_size(const struct fake_world *w)
{
	return w->n_chunks * CHUNK_RECORDS;
}

struct fake_record *
fake_world_at(const struct fake_world *w, int i)
{
	return &w->chunks[i / CHUNK_RECORDS][i % CHUNK_RECORDS];
}

int
fake_world_index(const struct fake_world *w, const struct fake_record *r)
{
	for (int i = 0; i < w->n_chunks; i++)
		if (r >= w->chunks[i] && r < w->chunks[i] + CHUNK_RECORDS)
			return i * CHUNK_RECORDS + (int)(r - w->chunks[i]);
	abort();
}

struct fake_image *
fake_world_image(struct fake_world *w, const char *name)
{
	if (strlen(name) >= FAKE_IMAGE_NAME_MAX)
		return NULL;
	for (int i = 0; i < FAKE_IMAGES_MAX; i++) {
		struct fake_image *im = &w->header->images[i];

		if (im->name[0] == '\0') {
			strcpy(im->version, "1");
			strcpy(im->name, name);
		}
		if (strcmp(im->name, name) == 0)
			return im;
	}
	return NULL;
}
