/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/network.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/xalloc.h"
#include "launcher/network_impl.h"
#include "launcher/protocol.h"

uint32_t
network_mask(const struct network *n)
{
	return ~UINT32_C(0) << (32 - n->prefix);
}

static int
parse_prefix(const char *s, unsigned *ret_prefix)
{
	unsigned v = 0;
	size_t len = strlen(s);

	if (len < 1 || len > 2 || s[0] == '0' || strspn(s, "0123456789") != len)
		return -1;
	for (; *s; s++)
		v = v * 10 + (unsigned)(*s - '0');
	*ret_prefix = v;
	return 0;
}

static int
refuse(struct err *err, const char *text, const char *why)
{
	(void)err_set(err, ERR_INVALID, "network %.32s: %s", text, why);
	return err_hint(err, "expected a private network such as 10.213.0.0/16");
}

int
network_parse(const char *text, struct network *ret_network, struct err *err)
{
	struct network n;
	struct in_addr in;
	char address[NETWORK_ADDRESS_MAX];
	const char *slash = strchr(text, '/');
	uint32_t first;

	if (!slash || (size_t)(slash - text) >= sizeof(address))
		return refuse(err, text, "not ADDRESS/PREFIX");
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = '\0';
	if (inet_pton(AF_INET, address, &in) != 1 ||
	    parse_prefix(slash + 1, &n.prefix) < 0)
		return refuse(err, text, "not ADDRESS/PREFIX");
	if (n.prefix < 8 || n.prefix > 24)
		return refuse(err, text, "the prefix is not between 8 and 24");
	n.address = ntohl(in.s_addr);
	if (n.address & ~network_mask(&n))
		return refuse(err, text, "bits are set behind the prefix");
	first = n.address >> 24;
	if (first == 0 || first == 127 || first >= 224 ||
	    ((n.address ^ 0xa9fe0000) & network_mask(&n) & 0xffff0000) == 0)
		return refuse(err, text, "reserved: not for machines");
	*ret_network = n;
	return 0;
}

uint32_t
network_slot_max(const struct network *n)
{
	uint32_t max = (UINT32_C(1) << (31 - n->prefix)) - 1;

	return max < LAUNCHER_SLOT_MAX ? max : LAUNCHER_SLOT_MAX;
}

uint32_t
network_host_end(const struct network *n, uint32_t slot)
{
	assert(slot >= 1 && slot <= network_slot_max(n));
	return n->address + 2 * slot;
}

void
network_dotted(uint32_t address, char out[NETWORK_ADDRESS_MAX])
{
	struct in_addr in = {htonl(address)};

	(void)inet_ntop(AF_INET, &in, out, NETWORK_ADDRESS_MAX);
}

void
network_text(const struct network *n, char out[NETWORK_TEXT_MAX])
{
	network_dotted(n->address, out);
	(void)snprintf(
	    out + strlen(out), NETWORK_TEXT_MAX - strlen(out), "/%u", n->prefix);
}

void
network_address(const struct network *n, uint32_t slot, char out[NETWORK_ADDRESS_MAX])
{
	network_dotted(network_host_end(n, slot) + 1, out);
}

void
network_gateway(const struct network *n, uint32_t slot, char out[NETWORK_ADDRESS_MAX])
{
	network_dotted(network_host_end(n, slot), out);
}

void
network_ifname(const struct network *n, uint32_t slot, char out[NETWORK_IFNAME_MAX])
{
	(void)snprintf(out, NETWORK_IFNAME_MAX, NETWORK_PREFIX "%08x",
	    (unsigned)network_host_end(n, slot) + 1);
}

bool
network_name_is_plain(const char *name)
{
	return name[0] && strlen(name) < NETWORK_IFNAME_MAX && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0 &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789._-@")] == '\0';
}

void
network_names_add(struct network_names *l, const char *name)
{
	assert(network_name_is_plain(name));
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->names[i], name) == 0)
			return;
	l->names = xrealloc(l->names, (l->n + 1) * sizeof(*l->names));
	strcpy(l->names[l->n++], name);
}
