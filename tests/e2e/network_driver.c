/* SPDX-License-Identifier: Apache-2.0 */
/* Calls launcher/network.h from test_network.py, which decides in which namespaces. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "launcher/network.h"

static double
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int
attach(const struct network *n, uint32_t slot, const char *netns, struct err *err)
{
	AUTO_CLOSE int fd = open(netns, O_RDONLY | O_CLOEXEC);
	double start = now_us();

	if (fd < 0)
		return err_set(err, ERR_NOT_FOUND, "%s", netns);
	if (network_attach(n, slot, fd, "m-test", err) < 0)
		return -1;
	printf("%.0f\n", now_us() - start);
	return 0;
}

static void
show(const struct network *n, uint32_t slot)
{
	char address[NETWORK_ADDRESS_MAX], gateway[NETWORK_ADDRESS_MAX],
	    name[NETWORK_IFNAME_MAX];

	network_address(n, slot, address);
	network_gateway(n, slot, gateway);
	network_ifname(n, slot, name);
	printf("%u %s %s %s\n", network_slot_max(n), address, gateway, name);
}

static int
run(const char *what, const char *network, const char *arg, const char *netns,
    struct err *err)
{
	struct buf AUTO_BUF out = BUF_INIT(4096);
	struct network n;
	uint32_t slot;

	if (strcmp(what, "teardown") == 0)
		return network_host_teardown(network, err);
	if (network_parse(network, &n, err) < 0)
		return -1;
	if (strcmp(what, "setup") == 0)
		return network_host_setup(&n, arg, err);
	if (strcmp(what, "check") == 0)
		return network_check_overlap(&n, err);
	slot = arg ? (uint32_t)strtoul(arg, NULL, 10) : 1;
	if (strcmp(what, "attach") == 0)
		return attach(&n, slot, netns, err);
	if (strcmp(what, "detach") == 0)
		return network_detach(&n, slot, err);
	if (strcmp(what, "join") == 0 || strcmp(what, "leave") == 0)
		return network_gang(&n, slot,
		    netns ? (uint32_t)strtoul(netns, NULL, 10) : 0, what[0] == 'j', err);
	if (strcmp(what, "show") == 0)
		show(&n, slot);
	if (strcmp(what, "resolv") == 0) {
		network_resolv_conf(&n, slot, &out);
		fputs(out.data ? out.data : "", stdout);
	}
	return 0;
}

int
main(int argc, char **argv)
{
	struct err err = {0};

	log_init("network-driver", LOG_LEVEL_INFO);
	if (argc < 3)
		return 2;
	if (run(argv[1], argv[2], argc > 3 ? argv[3] : NULL, argc > 4 ? argv[4] : NULL,
		&err) < 0) {
		fprintf(
		    stderr, "%s: %s; %s\n", err_info[err.code].name, err.msg, err.hint);
		return 1;
	}
	return 0;
}
