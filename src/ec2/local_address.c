/* SPDX-License-Identifier: Apache-2.0 */
/* A machine's address follows from its slot: the launcher gives each a pair of neighbours, the odd one of which is the
   machine's. All regions share the network, for a machine's address is one of this host. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/local_internal.h"
#include "ec2/objects.h"

#define RESERVED_FIRST 4 /* of a subnet: AWS's own */

static int
parse_cidr(const char *text, uint32_t *ret_first, uint32_t *ret_n, struct err *err)
{
	char host[BACKEND_ADDRESS_MAX];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : 0;
	long bits = slash ? strtol(slash + 1, NULL, 10) : 0;
	struct in_addr a;

	if (n == 0 || n >= sizeof(host) || bits < 8 || bits > 30)
		return err_set(err, ERR_INVALID, "'%.32s' is no network", text);
	memcpy(host, text, n);
	host[n] = '\0';
	if (inet_pton(AF_INET, host, &a) != 1)
		return err_set(err, ERR_INVALID, "'%.32s' is no network", text);
	*ret_first = ntohl(a.s_addr);
	*ret_n = UINT32_C(1) << (32 - bits);
	return 0;
}

int
local_addresses_init(struct local *l, const char *network, struct err *err)
{
	uint32_t n = 0;

	if (parse_cidr(network, &l->network, &n, err) < 0)
		return -1;
	n = n / 2 - 1; /* a pair each; the first stays free */
	l->n_slots = n > LAUNCHER_SLOT_MAX ? LAUNCHER_SLOT_MAX : n;
	l->slots = xcalloc(l->n_slots + 1, 1);
	(void)snprintf(l->network_text, sizeof(l->network_text), "%s", network);
	return 0;
}

uint32_t
local_slot(const struct local *l, const char *address)
{
	struct in_addr a;
	uint32_t offset;

	if (!address || inet_pton(AF_INET, address, &a) != 1)
		return 0;
	offset = ntohl(a.s_addr) - l->network;
	return offset % 2 == 1 && offset / 2 <= l->n_slots ? offset / 2 : 0;
}

static void
put_address(const struct local *l, uint32_t slot, char ret[BACKEND_ADDRESS_MAX])
{
	struct in_addr a = {.s_addr = htonl(l->network + 2 * slot + 1)};

	inet_ntop(AF_INET, &a, ret, BACKEND_ADDRESS_MAX);
}

/* The slots of a subnet; *ret_last is below *ret_first where it has none. */
static int
slots_of(const struct local *l, const struct subnet *s, uint32_t *ret_first,
    uint32_t *ret_last, struct err *err)
{
	uint32_t first = 0, n = 0;

	if (parse_cidr(s->cidr, &first, &n, err) < 0)
		return -1;
	if (first < l->network || first + n - 1 > l->network + 2 * l->n_slots + 1)
		return err_set(err, ERR_INVALID,
		    "subnet %s is not in %s, where the machines of this endpoint are",
		    s->cidr, l->network_text);
	*ret_first = (first - l->network + RESERVED_FIRST) / 2;
	*ret_last = (first - l->network + n) / 2 - 2; /* AWS's own last one, too */
	return 0;
}

static int
take_wanted(struct local *l, const struct subnet *s, const char *wanted, uint32_t first,
    uint32_t last, char ret[BACKEND_ADDRESS_MAX], struct err *err)
{
	uint32_t slot = local_slot(l, wanted);

	if (slot < first || slot > last)
		return err_set(err, ERR_INVALID,
		    "%s is not one that subnet %s can give here: odd ones are", wanted,
		    s->cidr);
	if (l->slots[slot])
		return err_set(err, ERR_CONFLICT, "%s is in use", wanted);
	l->slots[slot] = 1;
	(void)snprintf(ret, BACKEND_ADDRESS_MAX, "%s", wanted);
	return 0;
}

int
local_address_take(struct backend *b, const struct subnet *s, const char *wanted,
    char ret[BACKEND_ADDRESS_MAX], struct err *err)
{
	struct local *l = local_of(b);
	uint32_t first = 0, last = 0, *cursor = &((struct subnet *)s)->cursor;

	if (slots_of(l, s, &first, &last, err) < 0)
		return -1;
	if (wanted)
		return take_wanted(l, s, wanted, first, last, ret, err);
	/* Round robin, so that an address is not used again while the host's connection tracking remembers it. */
	for (uint32_t n = 0; first + n <= last; n++) {
		uint32_t slot = first + (*cursor)++ % (last - first + 1);

		if (l->slots[slot])
			continue;
		l->slots[slot] = 1;
		put_address(l, slot, ret);
		return 0;
	}
	return err_set(err, ERR_NO_CAPACITY, "no address is free in %s", s->cidr);
}

void
local_address_free(struct backend *b, const struct subnet *s, const char *address)
{
	struct local *l = local_of(b);

	l->slots[local_slot(l, address)] = 0;
}

/* Machines are reached at their private addresses. An elastic address is taken from the end of the network and leads
   nowhere: a machine has one address. */
int
local_public_take(struct backend *b, const char *private_address, const char *wanted,
    char ret[BACKEND_ADDRESS_MAX], struct err *err)
{
	struct local *l = local_of(b);
	uint32_t slot = l->n_slots;

	if (private_address) {
		(void)snprintf(ret, BACKEND_ADDRESS_MAX, "%s", private_address);
		return 0;
	}
	if (wanted)
		slot = local_slot(l, wanted);
	else
		while (slot > 0 && l->slots[slot])
			slot--;
	if (slot == 0)
		return err_set(err, wanted ? ERR_INVALID : ERR_NO_CAPACITY,
		    "no elastic address is free");
	if (l->slots[slot])
		return err_set(err, ERR_CONFLICT, "%s is in use", wanted);
	l->slots[slot] = 2;
	put_address(l, slot, ret);
	return 0;
}

void
local_public_free(struct backend *b, const char *address)
{
	struct local *l = local_of(b);
	uint32_t slot = local_slot(l, address);

	if (l->slots[slot] == 2) /* the others are private ones */
		l->slots[slot] = 0;
}
