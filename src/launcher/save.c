/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/save.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/id.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "launcher/file.h"
#include "launcher/image.h"
#include "launcher/machines.h"
#include "launcher/rootfs.h"

static const char *const cp_paths[] = {"/usr/bin/cp", "/bin/cp"};

struct saving {
	const struct launcher *l;
	const char *id;
	int machine_fd;
	uid_t root;
	char *machine, *lower, *from, *to; /* owned: paths */
};

/* In a child with a mount namespace of its own, where only what was opened in it can be cloned. The mount follows no
   symbolic link, so that nothing in the tree can lead the copying out of it. */
static void
exec_copy(void *arg)
{
	struct saving *s = arg;
	int machine = open(s->machine, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int lower = open(s->lower, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct err err;

	if (machine < 0 || lower < 0) {
		dprintf(2, "open the layers: %s\n", strerror(errno));
		_exit(1);
	}
	if (rootfs_mount_merged(machine, lower, s->root, &err) < 0) {
		dprintf(2, "%s\n", err.msg);
		_exit(1);
	}
	for (size_t i = 0; i < sizeof(cp_paths) / sizeof(cp_paths[0]); i++)
		execl(cp_paths[i], cp_paths[i], "-a", "--reflink=auto", "-T", s->from,
		    s->to, (char *)NULL);
	dprintf(2, "run cp: %s\n", strerror(errno));
	_exit(127);
}

static int
copy_tree(struct saving *s, const struct record *r, const char *name, struct err *err)
{
	const char *state = s->l->state_path;
	int rc;

	s->machine = xasprintf("%s/machines/%s", state, s->id);
	s->from = xasprintf("%s/" ROOTFS_MERGED, s->machine);
	s->lower = xasprintf("%s/images/%s/%s", state, r->image, r->image_version);
	s->to = xasprintf("%s/images/%s/" IMAGE_BUILDING, state, name);
	rc = image_run_child(exec_copy, s, err);
	rootfs_forget_merged(s->machine_fd);
	free(s->machine);
	free(s->from);
	free(s->lower);
	free(s->to);
	return rc;
}

static int
copy_frozen(struct saving *s, const struct record *r, const char *name, bool running,
    struct err *err)
{
	bool freeze = running && !cgroup_is_frozen(&s->l->cgroups, s->id);
	struct err second;
	int rc;

	if (freeze && cgroup_freeze(&s->l->cgroups, s->id, true, err) < 0)
		rc = -1;
	else
		rc = copy_tree(s, r, name, err);
	/* even if it was slow to freeze: it may be on its way */
	if (freeze && cgroup_freeze(&s->l->cgroups, s->id, false, &second) < 0)
		log_error("%s; instance '%s' stays halted", second.msg, s->id);
	return rc;
}

/* Opens NAME, locked, with an empty directory to build in. 1 when the image is there already. */
static int
begin(const struct launcher *l, const char *name, int *ret_fd,
    char ret_version[LAUNCHER_VERSION_MAX], struct err *err)
{
	AUTO_CLOSE int image = -1;
	AUTO_CLOSE int there = -1;
	struct err none;

	if (dir_open_at(l->images_fd, name, 0755, &image, err) < 0)
		return -1;
	if (flock(image, LOCK_EX | LOCK_NB) < 0)
		return err_set(
		    err, ERR_CONFLICT, "image '%s' is being made already", name);
	if (image_open(l, name, "", &there, ret_version, &none) == 0)
		return 1;
	if (tree_remove_at(image, IMAGE_BUILDING, err) < 0)
		return err_wrap(err, "remove an unfinished copy");
	if (mkdirat(image, IMAGE_BUILDING, 0755) < 0)
		return err_errno(err, errno, "make a directory to copy to");
	*ret_fd = TAKE_FD(image);
	return 0;
}

static int
save(struct saving *s, const struct record *r, const char *name, bool running,
    char ret_version[LAUNCHER_VERSION_MAX], struct err *err)
{
	AUTO_CLOSE int image = -1;
	AUTO_CLOSE int lower = -1; /* keeps that version from being removed */
	char version[LAUNCHER_VERSION_MAX];
	struct err ignored;
	int rc;

	if (image_open(s->l, r->image, r->image_version, &lower, version, err) < 0)
		return -1;
	rc = begin(s->l, name, &image, ret_version, err);
	if (rc == 0) {
		image_new_version(version);
		rc = copy_frozen(s, r, name, running, err);
		if (rc == 0)
			rc = image_publish(image, version, err);
		if (rc == 0)
			memcpy(ret_version, version, sizeof(version));
		else if (tree_remove_at(image, IMAGE_BUILDING, &ignored) < 0)
			log_warn("%s; the next copy tries again", ignored.msg);
		if (rc < 0)
			err_wrap(err, "save image '%s'", name);
	}
	return rc < 0 ? -1 : 0;
}

int
image_save(const struct launcher *l, const char *id, const char *name,
    char ret_version[LAUNCHER_VERSION_MAX], struct err *err)
{
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int pidfd = -1;
	struct record r;
	struct saving s = {.l = l, .id = id};

	if (machine_open(l, id, &fd, &r, &pidfd, err) < 0)
		return -1;
	s.machine_fd = fd;
	s.root = l->uid_base + r.slot * ROOTFS_UIDS;
	return save(&s, &r, name, pidfd >= 0, ret_version, err);
}

int
image_drop(const struct launcher *l, const char *name, struct err *err)
{
	AUTO_CLOSE int image =
	    openat(l->images_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (image < 0)
		return errno == ENOENT ? 0
				       : err_errno(err, errno, "open image '%s'", name);
	if (flock(image, LOCK_EX | LOCK_NB) < 0)
		return err_set(
		    err, ERR_CONFLICT, "image '%s' is being made just now", name);
	if (unlinkat(image, "current", 0) < 0 && errno != ENOENT)
		return err_errno(err, errno, "drop image '%s'", name);
	image_remove_unused(l, name, image);
	if (tree_remove_at(image, IMAGE_BUILDING, err) < 0)
		return err_wrap(err, "drop image '%s'", name);
	if (unlinkat(l->images_fd, name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY &&
	    errno != EEXIST)
		return err_errno(err, errno, "remove image '%s'", name);
	return 0;
}

void
image_sweep(const struct launcher *l)
{
	int again = openat(l->images_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;
	struct err err;

	while (d && (e = readdir(d)) != NULL) {
		char current[NAME_MAX + 16];

		(void)snprintf(current, sizeof(current), "%s/current", e->d_name);
		if (!name_valid(e->d_name) ||
		    faccessat(l->images_fd, current, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		if (image_drop(l, e->d_name, &err) < 0)
			log_debug("image '%s': %s", e->d_name, err.msg);
	}
	if (d)
		closedir(d);
	else if (again >= 0)
		close(again);
}
