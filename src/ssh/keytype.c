/* SPDX-License-Identifier: Apache-2.0 */
#include "ssh/keytype.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>

#define RSA_MIN_BITS 2048
#define RSA_MAX_BITS 16384

/* clang-format off */
static const struct ssh_key_type types[] = {
	{ "ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com",
	  SSH_KEY_ED25519, false, NULL, 0 },
	{ "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256-cert-v01@openssh.com",
	  SSH_KEY_ECDSA, false, "nistp256", NID_X9_62_prime256v1 },
	{ "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384-cert-v01@openssh.com",
	  SSH_KEY_ECDSA, false, "nistp384", NID_secp384r1 },
	{ "ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521-cert-v01@openssh.com",
	  SSH_KEY_ECDSA, false, "nistp521", NID_secp521r1 },
	{ "ssh-rsa", "ssh-rsa-cert-v01@openssh.com",
	  SSH_KEY_RSA, false, NULL, 0 },
	{ "sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519-cert-v01@openssh.com",
	  SSH_KEY_ED25519, true, NULL, 0 },
	{ "sk-ecdsa-sha2-nistp256@openssh.com", "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
	  SSH_KEY_ECDSA, true, "nistp256", NID_X9_62_prime256v1 },
};
/* clang-format on */

#define TYPES (sizeof(types) / sizeof(types[0]))

const struct ssh_key_type *
ssh_key_type_named(struct wire_str name)
{
	for (size_t i = 0; i < TYPES; i++)
		if (wire_str_is(name, types[i].name))
			return &types[i];
	return NULL;
}

const struct ssh_key_type *
ssh_key_type_of_cert(struct wire_str cert_name)
{
	for (size_t i = 0; i < TYPES; i++)
		if (wire_str_is(cert_name, types[i].cert_name))
			return &types[i];
	return NULL;
}

static int
cut_short(struct err *err)
{
	err_set(err, ERR_INVALID, "the key is cut short or damaged");
	return err_hint(err, "copy the whole line of the .pub file");
}

static int
read_ed25519(struct wire_reader *r, struct err *err)
{
	struct wire_str pk = wire_get_str(r);

	if (r->bad)
		return cut_short(err);
	if (pk.n != 32)
		return err_set(
		    err, ERR_INVALID, "an Ed25519 key has 32 bytes, this one %zu", pk.n);
	return 0;
}

static bool
on_curve(int nid, struct wire_str q)
{
	EC_GROUP *group = EC_GROUP_new_by_curve_name(nid);
	EC_POINT *point = group ? EC_POINT_new(group) : NULL;
	bool ok = point && EC_POINT_oct2point(group, point, q.p, q.n, NULL) == 1;

	ERR_clear_error();
	EC_POINT_free(point);
	EC_GROUP_free(group);
	return ok;
}

static int
read_ecdsa(const struct ssh_key_type *t, struct wire_reader *r, struct err *err)
{
	struct wire_str curve = wire_get_str(r);
	struct wire_str q = wire_get_str(r);

	if (r->bad)
		return cut_short(err);
	if (!wire_str_is(curve, t->curve))
		return err_set(err, ERR_INVALID, "an %s key must be on the curve %s",
		    t->name, t->curve);
	/* SSH allows only the uncompressed form (RFC 5656 section 3.1); OpenSSL would
	 * take others. */
	if (q.n == 0 || q.p[0] != 4 || !on_curve(t->nid, q))
		return err_set(
		    err, ERR_INVALID, "its point is not on the curve %s", t->curve);
	return 0;
}

static size_t
bits_of(struct wire_str n)
{
	return 8 * n.n - (size_t)(__builtin_clz(n.p[0]) - 24);
}

static int
read_rsa(struct wire_reader *r, struct err *err)
{
	struct wire_str e = wire_get_mpint(r);
	struct wire_str n = wire_get_mpint(r);

	if (r->bad)
		return cut_short(err);
	if (bits_of(n) < RSA_MIN_BITS) {
		err_set(err, ERR_INVALID,
		    "an RSA key of %zu bits is too short: at least %d are needed",
		    bits_of(n), RSA_MIN_BITS);
		return err_hint(err, "make a new one with ssh-keygen -t ed25519");
	}
	if (bits_of(n) > RSA_MAX_BITS)
		return err_set(err, ERR_INVALID,
		    "an RSA key of %zu bits is too long: at most %d", bits_of(n),
		    RSA_MAX_BITS);
	if (!(n.p[n.n - 1] & 1) || !(e.p[e.n - 1] & 1) || bits_of(e) < 2 || e.n > n.n)
		return err_set(
		    err, ERR_INVALID, "its modulus or exponent cannot be an RSA key's");
	return 0;
}

static int
read_key(const struct ssh_key_type *t, struct wire_reader *r, struct err *err)
{
	switch (t->kind) {
	case SSH_KEY_ED25519:
		return read_ed25519(r, err);
	case SSH_KEY_ECDSA:
		return read_ecdsa(t, r, err);
	case SSH_KEY_RSA:
		return read_rsa(r, err);
	}
	__builtin_unreachable();
}

int
ssh_key_type_read(const struct ssh_key_type *t, struct wire_reader *r, struct err *err)
{
	if (read_key(t, r, err) < 0)
		return -1;
	if (t->security_key) {
		(void)wire_get_str(r);
		if (r->bad)
			return cut_short(err);
	}
	return 0;
}
