/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_IMAGE_H
#define LAUNCHER_IMAGE_H

/*
 * Images: STATE/images/NAME/VERSION is a Debian root, never changed once it has that name (a machine
 * whose lower layer changes underneath it misbehaves). A build happens in NAME/.build-VERSION and is
 * published by rename; NAME/current is a symlink switched by rename. Versions are UTC time stamps.
 */

#include "base/err.h"
#include "launcher/launcher.h"
#include "launcher/protocol.h"

/* Opens the root directory of a version of the image; an empty `version` means the current one. The
   descriptor holds a shared lock: while it is open the version is not removed. ret_version says which
   it is. ERR_NOT_FOUND when there is none. */
ERR_CHECK int image_open(const struct launcher *l, const char *name, const char *version,
    int *ret_fd, char ret_version[LAUNCHER_VERSION_MAX], struct err *err);

/* Told of each step of a build. */
typedef void (*image_progress_fn)(void *arg, unsigned percent, const char *text);

/* Builds a new version with the builder and makes it current. Takes as long as it takes, half an hour
   at most. ERR_CONFLICT when this image is being built already. */
ERR_CHECK int image_build(const struct launcher *l, const char *name,
    image_progress_fn progress, void *arg, char ret_version[LAUNCHER_VERSION_MAX],
    struct err *err);

/* ---- parts of a build, for other ways to make an image (save.h) ---- */

#define IMAGE_BUILDING                                                                   \
	".build" /* NAME/.build is a version in the making; the maker holds NAME's lock */

/* Runs `fn`, which executes a program, in a child with a mount namespace of its own. ERR_UNAVAILABLE with the last line of
   what it said on stderr when it fails, or takes more than half an hour. */
ERR_CHECK int image_run_child(void (*fn)(void *arg), void *arg, struct err *err);

/* A name for a version that is made now. */
void image_new_version(char out[LAUNCHER_VERSION_MAX]);

/* Makes what is in IMAGE_BUILDING version `version`, and current. */
ERR_CHECK int image_publish(int image_fd, const char *version, struct err *err);

/* Removes every version but the current one that no machine is of. */
void image_remove_unused(const struct launcher *l, const char *name, int image_fd);

/* Removes a version. ERR_CONFLICT when it is the current one or a machine uses it; fine when it is
   gone. */
ERR_CHECK int image_remove(
    const struct launcher *l, const char *name, const char *version, struct err *err);

#endif
