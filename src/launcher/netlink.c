/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

int
netlink_socket(struct err *err)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return err_errno(err, errno, "netlink socket");
	return fd;
}

void *
netlink_add(struct netlink *b, uint16_t type, uint16_t flags, size_t body)
{
	struct nlmsghdr *h;

	if (b->last)
		b->len += NLMSG_ALIGN(b->last->nlmsg_len);
	h = mnl_nlmsg_put_header(b->data + b->len);
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_seq = ++b->seq;
	b->last = h;
	return mnl_nlmsg_put_extra_header(h, body);
}

void
netlink_address(struct netlink *b, uint16_t attribute, uint32_t address)
{
	mnl_attr_put_u32(b->last, attribute, htonl(address));
}

static bool
read_answer(struct netlink *b, const char *data, size_t len, struct netlink_result *r)
{
	const struct nlmsghdr *h = (const void *)data;

	for (int left = (int)len; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

		if (h->nlmsg_type == RTM_NEWLINK) {
			const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(h);

			r->ifindex = ifi->ifi_index;
		}
		if (h->nlmsg_type != NLMSG_ERROR)
			continue;
		if (e->error && !r->error) {
			r->error = -e->error;
			r->failed_seq = h->nlmsg_seq;
		}
		if (h->nlmsg_seq == b->seq)
			return true;
	}
	return false;
}

int
netlink_run(struct netlink *b, int fd, struct netlink_result *r, struct err *err)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	char answer[16384];
	ssize_t got;

	*r = (struct netlink_result){0};
	b->last->nlmsg_flags |= NLM_F_ACK;
	b->len += NLMSG_ALIGN(b->last->nlmsg_len);
	if (sendto(fd, b->data, b->len, 0, (void *)&kernel, sizeof(kernel)) < 0)
		return err_errno(err, errno, "netlink request");
	do {
		got = recv(fd, answer, sizeof(answer), 0);
		if (got < 0 && errno != EINTR)
			return err_errno(err, errno, "netlink answer");
	} while (got < 0 || !read_answer(b, answer, (size_t)got, r));
	return 0;
}

int
netlink_run_one(struct netlink *b, int fine, const char *what, struct err *err)
{
	struct netlink_result r;
	AUTO_CLOSE int fd = netlink_socket(err);

	if (fd < 0 || netlink_run(b, fd, &r, err) < 0)
		return -1;
	if (r.error && r.error != fine)
		return err_errno(err, r.error, "%s", what);
	return 0;
}

static int
read_dump(int fd, uint32_t seq, netlink_dump_fn fn, void *arg, struct err *err)
{
	AUTO_FREE char *data = xmalloc(65536);
	bool more = true;

	while (more) {
		ssize_t got = recv(fd, data, 65536, 0);
		const struct nlmsghdr *h = (const void *)data;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(err, errno, "netlink dump");
		for (int left = (int)got; more && mnl_nlmsg_ok(h, left);
		     h = mnl_nlmsg_next(h, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

			if (h->nlmsg_seq != seq)
				continue;
			if (h->nlmsg_type == NLMSG_ERROR)
				return err_errno(err, -e->error, "netlink dump");
			more = h->nlmsg_type != NLMSG_DONE && fn(h, arg);
		}
	}
	return 0;
}

int
netlink_dump(
    uint16_t type, unsigned char family, netlink_dump_fn fn, void *arg, struct err *err)
{
	struct netlink b = {0};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	AUTO_CLOSE int fd = netlink_socket(err);
	struct rtgenmsg *m;

	if (fd < 0)
		return -1;
	/* As long as the longest of the three headers: some kernels refuse less. */
	m = netlink_add(&b, type, NLM_F_DUMP, sizeof(struct ifinfomsg));
	m->rtgen_family = family;
	if (sendto(fd, b.data, b.last->nlmsg_len, 0, (void *)&kernel, sizeof(kernel)) < 0)
		return err_errno(err, errno, "netlink dump");
	return read_dump(fd, b.seq, fn, arg, err);
}
