/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/testpoint.h"
#include "launcher/graft.h"
#include "launcher/machines.h"
#include "launcher/rootfs.h"

#define OWNER 1000 /* of the login user in every image: build-image makes it the first */
#define NAME_MAX_LEN 16
#define BUILDING "new"

static void
name_of(char out[NAME_MAX_LEN], uint32_t uid)
{
	(void)snprintf(out, NAME_MAX_LEN, "%u", uid);
}

/* Under another name first, so that what bears the uid's is complete, and no owner is changed ever after. What a crash has
   left under it is taken up again. */
static int
make_as(const struct launcher *l, const char *name, struct err *err)
{
	if (mkdirat(l->homes_fd, BUILDING, 0755) < 0 && errno != EEXIST)
		return err_errno(err, errno, "make home '%s'", name);
	if (fchmodat(l->homes_fd, BUILDING, 0755, 0) < 0 ||
	    fchownat(l->homes_fd, BUILDING, OWNER, OWNER, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, errno, "give home '%s' to its user", name);
	testpoint("home");
	if (renameat(l->homes_fd, BUILDING, l->homes_fd, name) < 0)
		return err_errno(err, errno, "make home '%s'", name);
	return fsync(l->homes_fd) == 0 ? 0
				       : err_errno(err, errno, "sync home '%s'", name);
}

static bool
is_there(const struct launcher *l, const char *name)
{
	return faccessat(l->homes_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int
home_make(const struct launcher *l, uint32_t uid, struct err *err)
{
	AUTO_CLOSE int locked = -1;
	char name[NAME_MAX_LEN];

	name_of(name, uid);
	if (is_there(l, name))
		return 0;
	locked = openat(l->homes_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (locked < 0 || flock(locked, LOCK_EX) < 0)
		return err_errno(err, errno, "lock the homes");
	return is_there(l, name) ? 0 : make_as(l, name, err);
}

int
home_mount(const struct launcher *l, const char *id, uint32_t uid, struct err *err)
{
	AUTO_CLOSE int machine = -1;
	AUTO_CLOSE int pidfd = -1;
	AUTO_CLOSE int mount = -1;
	char name[NAME_MAX_LEN];
	struct graft g;
	struct record r;
	int rc;

	name_of(name, uid);
	if (machine_open_running(l, id, &machine, &r, &pidfd, err) < 0 ||
	    graft_open(r.pid, pidfd, &g, err) < 0)
		return -1;
	mount = open_tree(
	    l->homes_fd, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (mount < 0)
		rc = err_errno(err, errno, "open home '%s'", name);
	else if (graft_map_owners(&g, mount, err) < 0)
		rc = -1;
	else
		rc = graft_place(
		    &g, mount, HOME_PLACE, l->uid_base + r.slot * ROOTFS_UIDS, err);
	graft_close(&g);
	return rc;
}
