/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "launcher/create.h"
#include "launcher/machines.h"

int
instance_stop(const struct launcher *l, const char *id, struct launcher_reply *reply,
    struct err *err)
{
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int pidfd = -1;
	struct record r;

	if (machine_open(l, id, &fd, &r, &pidfd, err) < 0 ||
	    machine_stop(l, id, fd, err) < 0)
		return -1;
	r.pid = 0;
	reply_from_record(l, id, &r, false, reply);
	return 0;
}

/* The link goes with it: who connects to a halted instance must not get through to a backlog that nobody serves. */
int
instance_freeze(const struct launcher *l, const char *id, bool freeze,
    struct launcher_reply *reply, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int pidfd = -1;
	struct record r;

	if (machine_open(l, id, &fd, &r, &pidfd, err) < 0)
		return -1;
	if (pidfd < 0)
		return err_set(err, ERR_CONFLICT, "instance '%s' does not run", id);
	if (!freeze && network_set_link(&l->network, r.slot, true, err) < 0)
		return -1;
	if (cgroup_freeze(&l->cgroups, id, freeze, err) < 0)
		return -1;
	if (freeze && network_set_link(&l->network, r.slot, false, err) < 0)
		return -1;
	reply_from_record(l, id, &r, true, reply);
	return 0;
}

int
instance_console(const struct launcher *l, const char *id, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int pidfd = -1;
	struct record r;

	if (machine_open(l, id, &fd, &r, &pidfd, err) < 0)
		return -1;
	*ret_fd = openat(fd, "console", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return *ret_fd >= 0 ? 0 : err_errno(err, errno, "open the console of '%s'", id);
}

/* The network of a pid is the instance's if its PID 1 still lives after that was opened. */
static int
open_network(pid_t pid, int pidfd, int *ret_fd, struct err *err)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	AUTO_CLOSE int fd = -1;
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || poll(&p, 1, 0) != 0)
		return err_set(err, ERR_CONFLICT, "the instance has just ended");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int
instance_open_metadata(
    const struct launcher *l, const char *id, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int pidfd = -1;
	AUTO_CLOSE int netns = -1;
	struct record r;

	if (machine_open(l, id, &fd, &r, &pidfd, err) < 0)
		return -1;
	if (pidfd < 0)
		return err_set(err, ERR_CONFLICT, "instance '%s' does not run", id);
	if (open_network(r.pid, pidfd, &netns, err) < 0)
		return -1;
	return network_listen_metadata(netns, LAUNCHER_METADATA_ADDRESS, ret_fd, err);
}
