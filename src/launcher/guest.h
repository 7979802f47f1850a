/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_GUEST_H
#define LAUNCHER_GUEST_H

/*
 * What an instance has of ours in its file system: the programs in guest/, which make a plain Debian look like Amazon
 * Linux to whoever logs in and to set-up scripts. They are part of the launcher and written into each new disk.
 */

#include <sys/types.h>

struct guest_file {
	const char *name; /* below the root; NULL ends the list */
	const char *text;
	mode_t mode;
};

extern const struct guest_file guest_files[];

/* What they need, in order; all root's, 0755. Ends with NULL. */
extern const char *const guest_directories[];

#endif
