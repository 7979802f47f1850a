/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "launcher/netlink.h"
#include "launcher/network_impl.h"

#define LOOPBACK_INDEX 1 /* always */
#define METADATA_PORT 65169
#define BACKLOG 64

static int
add_to_loopback(struct in_addr address, struct err *err)
{
	struct netlink b = {0};
	struct ifaddrmsg *m =
	    netlink_add(&b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(*m));

	m->ifa_family = AF_INET;
	m->ifa_prefixlen = 32;
	m->ifa_scope = RT_SCOPE_HOST;
	m->ifa_index = LOOPBACK_INDEX;
	netlink_address(&b, IFA_LOCAL, ntohl(address.s_addr));
	netlink_address(&b, IFA_ADDRESS, ntohl(address.s_addr));
	return netlink_run_one(&b, EEXIST, "adding the metadata service's address", err);
}

/* At METADATA_PORT, or at any other if somebody inside has that. Not at 80: nobody inside could then listen at port 80 of
   all addresses, as every web server does. */
static int
listen_at(struct in_addr address, int *ret_fd, unsigned *ret_port, struct err *err)
{
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_port = htons(METADATA_PORT), .sin_addr = address};
	socklen_t len = sizeof(at);
	AUTO_CLOSE int fd =
	    socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, rc;

	if (fd < 0)
		return err_errno(err, errno, "making the metadata service's socket");
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	rc = bind(fd, (struct sockaddr *)&at, sizeof(at));
	if (rc < 0 && errno == EADDRINUSE) {
		at.sin_port = 0;
		rc = bind(fd, (struct sockaddr *)&at, sizeof(at));
	}
	if (rc < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return err_errno(err, errno, "listening for the metadata service");
	*ret_port = ntohs(at.sin_port);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int
open_service(struct in_addr in, const char *address, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	unsigned port = 0;

	if (add_to_loopback(in, err) < 0 || listen_at(in, &fd, &port, err) < 0 ||
	    network_firewall_redirect(address, port, err) < 0)
		return -1;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int
network_listen_metadata(int netns_fd, const char *address, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct in_addr in;
	int rc;

	if (inet_pton(AF_INET, address, &in) != 1)
		return err_set(err, ERR_INVALID, "'%s' is no address", address);
	if (home < 0)
		return err_errno(err, errno, "opening the own network namespace");
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return err_errno(err, errno, "entering the machine's network namespace");
	rc = open_service(in, address, ret_fd, err);
	if (setns(home, CLONE_NEWNET) < 0) {
		log_error("leaving the machine's network namespace: %s", strerror(errno));
		_exit(1); /* nothing this process did from here on would be where it
			     should be */
	}
	return rc;
}
