/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_CGROUP_H
#define LAUNCHER_CGROUP_H

/*
 * Limits of the machines by control groups, version 1, 2 or a hybrid of both: each controller is used
 * where the host has it. Machines live in "/NAME/ID" of each hierarchy, where NAME is one daemon's, but
 * not below its own group: a service manager that restarts the daemon must find its group empty (with version 2 it could
 * not start a process in a group that has controllers enabled for children), and machines outlive the
 * daemon. Under systemd, Delegate=yes on the daemon's unit keeps the controllers enabled at the root.
 *
 * The freezer is version 2's alone, which hybrid hosts have too: a frozen PID 1 of version 1 can neither expire nor be
 * killed.
 * Version 2 has no devices controller; there the user namespace alone keeps device nodes from being
 * made, as it also does with version 1, where a list of allowed devices stands behind it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define CGROUP_NAME_MAX 48

enum cgroup_controller {
	CGROUP_MEMORY,
	CGROUP_PIDS,
	CGROUP_CPU,
	CGROUP_DEVICES,
	CGROUP_MAX
};

struct cgroups {
	char name[CGROUP_NAME_MAX];
	int v1
	    [CGROUP_MAX]; /* our group in the controller's own hierarchy; -1: not version 1 */
	int v2;		  /* our group in the unified hierarchy; -1: there is none */
	bool v2_has[CGROUP_MAX];
	bool needs_attach; /* some hierarchy is version 1 */
};

struct cgroup_limits {
	uint64_t memory_bytes; /* with swap: machines get none */
	uint32_t pids_max;
	uint32_t cpu_milli; /* 0: no limit */
};

/* Finds the hierarchies and makes group `name` in each. Safe with machines alive. ERR_UNAVAILABLE when the
   host has no memory or no pids controller. */
ERR_CHECK int cgroup_setup(const char *name, struct cgroups *ret, struct err *err);

/* False when somebody has removed our groups, as anybody tidying up may while no machine is in them: set
   up again then. */
bool cgroup_is_set_up(const struct cgroups *c);

/* Opens what cgroup_setup() would make, without changing anything; for tear-down. */
void cgroup_find(const char *name, struct cgroups *ret);

/* Makes the machine's groups with their limits. ret_v2 is the group for CLONE_INTO_CGROUP, or -1 where
   cgroup_attach() is to be used. */
ERR_CHECK int cgroup_create(const struct cgroups *c, const char *id,
    const struct cgroup_limits *limits, int *ret_v2, struct err *err);

/* Moves a process into all of the machine's groups, on hosts with version 1. The first move after a quiet
   time takes the kernel about 8 ms, the next ones 0.1: cgroup_attach_prepare() pays for it by moving the
   calling process into our group, while others do something else, but nothing with cgroups: no group can
   be made, and no process cloned into one, meanwhile. */
void cgroup_attach_prepare(const struct cgroups *c);
ERR_CHECK int cgroup_attach(
    const struct cgroups *c, const char *id, pid_t pid, struct err *err);

/* Kills whatever is left in the machine's groups and removes them. Waits at most 2 s for the kernel to
   let go of them. Fine when they are gone. */
ERR_CHECK int cgroup_remove(const struct cgroups *c, const char *id, struct err *err);

/* Halts all that is in the machine's group, or lets it go on; returns when that is so, after 1 s at most. Fine when it is
   so already. ERR_UNAVAILABLE on a host without version 2. */
ERR_CHECK int cgroup_freeze(
    const struct cgroups *c, const char *id, bool freeze, struct err *err);

/* Whether cgroup_freeze() was called last with true. */
bool cgroup_is_frozen(const struct cgroups *c, const char *id);

/* Closes the descriptors; groups stay. */
void cgroup_close(const struct cgroups *c);

/* Removes our group from every hierarchy, and those of machines in it whose directories somebody has
   deleted by hand, with all that runs there. */
void cgroup_teardown(const struct cgroups *c);

#endif
