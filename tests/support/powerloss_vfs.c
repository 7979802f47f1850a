/* SPDX-License-Identifier: Apache-2.0 */
#include "powerloss_vfs.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"

#define SECTOR 512
#define FILES_MAX 16

/* A write, or (data NULL) a truncation to `offset`, that was not synced yet. */
struct op {
	struct op *next;
	int64_t offset;
	int64_t len;
	char *data;
};

struct image {
	char *name; /* owned; NULL: unused */
	char *data; /* owned: what is durable */
	int64_t size;
	int64_t room;
	bool durable; /* the directory entry is */
	bool removed; /* but not durably */
	struct op *first;
	struct op **end;
};

struct file {
	sqlite3_file base;
	struct image *image; /* borrowed; NULL: a temporary file */
	sqlite3_file *real;  /* behind this struct */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct image images[FILES_MAX];
static uint64_t rng;
static int64_t ops, cut_at;
static bool lying, dark, disk_full, disk_full_all;
static sqlite3_vfs *under;
static sqlite3_vfs vfs;

static uint64_t
random_u64(void)
{
	uint64_t z = (rng += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void
ops_free(struct image *im)
{
	while (im->first) {
		struct op *next = im->first->next;

		free(im->first->data);
		free(im->first);
		im->first = next;
	}
	im->end = &im->first;
}

static void
op_add(struct image *im, int64_t offset, const void *data, int64_t len)
{
	struct op *op = xnew(struct op);

	op->offset = offset;
	op->len = len;
	if (data) {
		op->data = xmalloc((size_t)len);
		memcpy(op->data, data, (size_t)len);
	}
	*im->end = op;
	im->end = &op->next;
}

static void
image_resize(struct image *im, int64_t size)
{
	if (size >= im->room) {
		im->room = 2 * size + 4096;
		im->data = xrealloc(im->data, (size_t)im->room);
	}
	if (size > im->size)
		memset(im->data + im->size, 0, (size_t)(size - im->size));
	im->size = size;
}

static void
image_write(struct image *im, int64_t offset, const char *data, int64_t len)
{
	if (offset + len > im->size)
		image_resize(im, offset + len);
	memcpy(im->data + offset, data, (size_t)len);
}

static void
image_sync(struct image *im)
{
	for (struct op *op = im->first; op; op = op->next)
		if (op->data)
			image_write(im, op->offset, op->data, op->len);
		else
			image_resize(im, op->offset);
	ops_free(im);
	im->durable = true;
}

/* Of every write since the last sync, each sector has arrived or not. */
static void
image_tear(struct image *im)
{
	unsigned odds = (unsigned)(random_u64() % 5); /* of 4: none, some, all */

	for (struct op *op = im->first; op; op = op->next) {
		if (!op->data) {
			if (random_u64() % 4 < odds)
				image_resize(im, op->offset);
			continue;
		}
		for (int64_t at = 0; at < op->len;) {
			int64_t n = SECTOR - (op->offset + at) % SECTOR;

			if (n > op->len - at)
				n = op->len - at;
			if (random_u64() % 4 < odds)
				image_write(im, op->offset + at, op->data + at, n);
			at += n;
		}
	}
	ops_free(im);
}

static struct image *
image_find(const char *name)
{
	for (int i = 0; i < FILES_MAX; i++)
		if (images[i].name && strcmp(images[i].name, name) == 0)
			return &images[i];
	return NULL;
}

/* A file that is there already counts as durable. */
static struct image *
image_open(const char *name, bool existed, sqlite3_file *real)
{
	struct image *im = image_find(name);
	sqlite3_int64 size = 0;

	if (im) {
		if (im->removed)
			op_add(im, 0, NULL, 0);
		im->removed = false;
		return im;
	}
	for (im = images; im->name; im++)
		assert(im < &images[FILES_MAX - 1]);
	*im = (struct image){.name = xstrdup(name), .durable = existed};
	im->end = &im->first;
	if (existed && real->pMethods->xFileSize(real, &size) == SQLITE_OK && size > 0) {
		image_resize(im, size);
		if (real->pMethods->xRead(real, im->data, (int)size, 0) != SQLITE_OK)
			abort();
	}
	return im;
}

/* Counts an operation; false when there is no power (any more). */
static bool
powered(void)
{
	ops++;
	if (cut_at && ops >= cut_at)
		dark = true;
	return !dark;
}

#define REAL(f) (((struct file *)(f))->real)
#define CALL(f, method, ...) (REAL(f)->pMethods->method(REAL(f), ##__VA_ARGS__))

static int
pl_close(sqlite3_file *f)
{
	return CALL(f, xClose);
}

static int
pl_read(sqlite3_file *f, void *data, int n, sqlite3_int64 offset)
{
	return CALL(f, xRead, data, n, offset);
}

static int
pl_write(sqlite3_file *f, const void *data, int n, sqlite3_int64 offset)
{
	struct image *im = ((struct file *)f)->image;
	sqlite3_int64 size = 0;
	int rc = SQLITE_IOERR_WRITE;

	pthread_mutex_lock(&mutex);
	(void)CALL(f, xFileSize, &size);
	if (disk_full && (disk_full_all || offset + n > size)) {
		rc = SQLITE_FULL;
	} else if (powered()) {
		if (im)
			op_add(im, offset, data, n);
		rc = CALL(f, xWrite, data, n, offset);
	}
	pthread_mutex_unlock(&mutex);
	return rc;
}

static int
pl_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	struct image *im = ((struct file *)f)->image;
	int rc = SQLITE_IOERR_TRUNCATE;

	pthread_mutex_lock(&mutex);
	if (powered()) {
		if (im)
			op_add(im, size, NULL, 0);
		rc = CALL(f, xTruncate, size);
	}
	pthread_mutex_unlock(&mutex);
	return rc;
}

static int
pl_sync(sqlite3_file *f, int flags)
{
	struct image *im = ((struct file *)f)->image;
	int rc = SQLITE_IOERR_FSYNC;

	pthread_mutex_lock(&mutex);
	if (powered()) {
		if (im && !lying)
			image_sync(im);
		rc = SQLITE_OK;
	}
	pthread_mutex_unlock(&mutex);
	return rc;
}

static int
pl_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	return CALL(f, xFileSize, ret);
}

static int
pl_lock(sqlite3_file *f, int level)
{
	return CALL(f, xLock, level);
}

static int
pl_unlock(sqlite3_file *f, int level)
{
	return CALL(f, xUnlock, level);
}

static int
pl_check_reserved(sqlite3_file *f, int *ret)
{
	return CALL(f, xCheckReservedLock, ret);
}

static int
pl_control(sqlite3_file *f, int op, void *arg)
{
	return CALL(f, xFileControl, op, arg);
}

static int
pl_sector_size(sqlite3_file *f)
{
	return CALL(f, xSectorSize);
}

static int
pl_characteristics(sqlite3_file *f)
{
	return CALL(f, xDeviceCharacteristics);
}

static int
pl_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **ret)
{
	return CALL(f, xShmMap, region, size, extend, ret);
}

static int
pl_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return CALL(f, xShmLock, offset, n, flags);
}

static void
pl_shm_barrier(sqlite3_file *f)
{
	CALL(f, xShmBarrier);
}

static int
pl_shm_unmap(sqlite3_file *f, int remove)
{
	return CALL(f, xShmUnmap, remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = pl_close,
    .xRead = pl_read,
    .xWrite = pl_write,
    .xTruncate = pl_truncate,
    .xSync = pl_sync,
    .xFileSize = pl_size,
    .xLock = pl_lock,
    .xUnlock = pl_unlock,
    .xCheckReservedLock = pl_check_reserved,
    .xFileControl = pl_control,
    .xSectorSize = pl_sector_size,
    .xDeviceCharacteristics = pl_characteristics,
    .xShmMap = pl_shm_map,
    .xShmLock = pl_shm_lock,
    .xShmBarrier = pl_shm_barrier,
    .xShmUnmap = pl_shm_unmap,
};

static int
pl_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
	struct file *file = (struct file *)f;
	bool existed;
	int rc;

	file->base.pMethods = NULL;
	file->image = NULL;
	file->real = (sqlite3_file *)(file + 1);
	pthread_mutex_lock(&mutex);
	existed = name && access(name, F_OK) == 0;
	rc = under->xOpen(under, name, file->real, flags, ret_flags);
	if (rc == SQLITE_OK) {
		file->base.pMethods = &methods;
		if (name)
			file->image = image_open(name, existed, file->real);
	}
	pthread_mutex_unlock(&mutex);
	return rc;
}

static int
pl_delete(sqlite3_vfs *v, const char *name, int sync_dir)
{
	struct image *im;
	int rc = SQLITE_IOERR_DELETE;

	pthread_mutex_lock(&mutex);
	if (powered()) {
		rc = under->xDelete(under, name, 0);
		im = image_find(name);
		if (rc == SQLITE_OK && im) {
			im->removed = true;
			if (sync_dir && !lying) {
				ops_free(im);
				image_resize(im, 0);
				im->durable = false;
			}
		}
	}
	pthread_mutex_unlock(&mutex);
	return rc;
}

void
powerloss_register(void)
{
	under = sqlite3_vfs_find("unix");
	vfs = *under;
	vfs.zName = POWERLOSS_VFS;
	vfs.szOsFile = (int)sizeof(struct file) + under->szOsFile;
	vfs.xOpen = pl_open;
	vfs.xDelete = pl_delete;
	if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
		abort();
}

void
powerloss_reset(uint64_t seed, bool lie)
{
	for (int i = 0; i < FILES_MAX; i++) {
		ops_free(&images[i]);
		free(images[i].name);
		free(images[i].data);
		images[i] = (struct image){0};
	}
	rng = seed;
	ops = cut_at = 0;
	lying = lie;
	dark = disk_full = false;
}

void
powerloss_cut_after(int64_t n)
{
	pthread_mutex_lock(&mutex);
	cut_at = n ? ops + n : 0;
	pthread_mutex_unlock(&mutex);
}

bool
powerloss_is_cut(void)
{
	bool is;

	pthread_mutex_lock(&mutex);
	is = dark;
	pthread_mutex_unlock(&mutex);
	return is;
}

int64_t
powerloss_ops(void)
{
	int64_t n;

	pthread_mutex_lock(&mutex);
	n = ops;
	pthread_mutex_unlock(&mutex);
	return n;
}

static void
write_real(const struct image *im)
{
	int fd = open(im->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, im->data, (size_t)im->size) != (ssize_t)im->size ||
	    close(fd) < 0)
		abort();
}

void
powerloss_restore(void)
{
	for (int i = 0; i < FILES_MAX; i++) {
		struct image *im = &images[i];

		if (!im->name)
			continue;
		if (im->removed && random_u64() % 2)
			im->durable = false;
		else if (!im->durable && !im->removed && random_u64() % 2)
			im->durable = true; /* its entry got there by chance */
		if (im->durable) {
			image_tear(im);
			write_real(im);
		} else {
			ops_free(im);
			image_resize(im, 0);
			(void)unlink(im->name);
		}
		im->removed = !im->durable;
	}
	cut_at = 0;
	dark = false;
}

void
powerloss_disk_full(bool full, bool all)
{
	pthread_mutex_lock(&mutex);
	disk_full = full;
	disk_full_all = all;
	pthread_mutex_unlock(&mutex);
}
