/* SPDX-License-Identifier: Apache-2.0 */
#include "ssh/cert.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/xalloc.h"
#include "ssh/keytype.h"
#include "ssh/wire.h"

const char *const ssh_permit_names[SSH_PERMITS] = {"permit-X11-forwarding",
    "permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc"};

static int
damaged(struct err *err, const char *what)
{
	err_set(err, ERR_INVALID, "%s cut short or damaged", what);
	return err_hint(err, "copy the whole line of the -cert.pub file");
}

void
ssh_cert_fini(struct ssh_cert *cert)
{
	for (size_t i = 0; i < cert->principals_n; i++)
		free(cert->principals[i]);
	free(cert->principals);
	free(cert->key_id);
	free(cert->force_command);
	free(cert->blob);
	ssh_pubkey_fini(&cert->key);
	ssh_pubkey_fini(&cert->ca);
	*cert = (struct ssh_cert){0};
}

/* The key that the certificate holds, as a key of its own: its type, then the same
 * fields. */
static int
read_key(struct ssh_cert *cert, const struct ssh_key_type *t, struct wire_reader *r,
    struct err *err)
{
	AUTO_BUF struct buf blob = BUF_INIT(SSH_CERT_TEXT_MAX);
	const uint8_t *from = r->p;

	if (ssh_key_type_read(t, r, err) < 0)
		return -1;
	wire_put_cstr(&blob, t->name);
	buf_add(&blob, from, (size_t)(r->p - from));
	return ssh_pubkey_from_blob(blob.data, blob.len, "", &cert->key, err);
}

static int
read_principals(struct ssh_cert *cert, struct wire_str list, struct err *err)
{
	struct wire_reader r = wire_reader(list.p, list.n);

	cert->principals = xcalloc(SSH_CERT_PRINCIPALS_MAX, sizeof(char *));
	while (r.left) {
		struct wire_str name = wire_get_str(&r);

		if (cert->principals_n == SSH_CERT_PRINCIPALS_MAX)
			return err_set(err, ERR_INVALID, "it has more than %d principals",
			    SSH_CERT_PRINCIPALS_MAX);
		cert->principals[cert->principals_n] = r.bad ? NULL : wire_str_dup(name);
		if (!cert->principals[cert->principals_n])
			return damaged(err, "its principals are");
		cert->principals_n++;
	}
	return 0;
}

static int
read_critical(struct ssh_cert *cert, struct wire_str list, struct err *err)
{
	struct wire_reader r = wire_reader(list.p, list.n);

	while (r.left) {
		struct wire_str name = wire_get_str(&r);
		struct wire_str value = wire_get_str(&r);
		struct wire_reader v = wire_reader(value.p, value.n);

		if (r.bad)
			return damaged(err, "its options are");
		if (!wire_str_is(name, "force-command"))
			continue;
		value = wire_get_str(&v);
		if (v.bad || v.left || cert->force_command ||
		    !(cert->force_command = wire_str_dup(value)))
			return damaged(err, "its force-command is");
	}
	return 0;
}

static int
read_extensions(struct ssh_cert *cert, struct wire_str list, struct err *err)
{
	struct wire_reader r = wire_reader(list.p, list.n);

	while (r.left) {
		struct wire_str name = wire_get_str(&r);

		(void)wire_get_str(&r);
		if (r.bad)
			return damaged(err, "its extensions are");
		for (unsigned i = 0; i < SSH_PERMITS; i++)
			if (wire_str_is(name, ssh_permit_names[i]))
				cert->permit |= 1u << i;
	}
	return 0;
}

/* After the key; the order is PROTOCOL.certkeys'. */
static int
read_body(struct ssh_cert *cert, struct wire_reader *r, struct err *err)
{
	struct wire_str key_id, principals, critical, extensions, ca;
	uint32_t kind;

	cert->serial = wire_get_u64(r);
	kind = wire_get_u32(r);
	key_id = wire_get_str(r);
	principals = wire_get_str(r);
	cert->valid_after = wire_get_u64(r);
	cert->valid_before = wire_get_u64(r);
	critical = wire_get_str(r);
	extensions = wire_get_str(r);
	(void)wire_get_str(r); /* reserved */
	ca = wire_get_str(r);
	cert->signed_len = (size_t)(r->p - cert->blob);
	(void)wire_get_str(r); /* signature */
	if (r->bad || r->left || !(cert->key_id = wire_str_dup(key_id)))
		return damaged(err, "it is");
	if (kind != SSH_CERT_USER && kind != SSH_CERT_HOST)
		return err_set(err, ERR_INVALID, "it is for neither a user nor a host");
	cert->kind = (enum ssh_cert_kind)kind;
	if (read_principals(cert, principals, err) < 0 ||
	    read_critical(cert, critical, err) < 0 ||
	    read_extensions(cert, extensions, err) < 0)
		return -1;
	if (ssh_pubkey_from_blob(ca.p, ca.n, "", &cert->ca, err) < 0)
		return err_wrap(err, "its CA");
	return 0;
}

static int
parse_line(struct wire_str line, struct ssh_cert *cert, struct err *err)
{
	AUTO_BUF struct buf blob = BUF_INIT(SSH_CERT_TEXT_MAX);
	struct wire_str name = wire_word(&line), base64 = wire_word(&line);
	const struct ssh_key_type *t = ssh_key_type_of_cert(name);
	struct wire_reader r;

	if (!t) {
		err_set(
		    err, ERR_INVALID, "it does not begin with the type of a certificate");
		return err_hint(err, "give the line of a -cert.pub file");
	}
	if (!wire_base64_decode(base64, &blob))
		return damaged(err, "it is");
	cert->type = t->cert_name;
	cert->blob_len = blob.len;
	cert->blob = (uint8_t *)buf_take(&blob);
	r = wire_reader(cert->blob, cert->blob_len);
	if (!wire_str_is(wire_get_str(&r), t->cert_name))
		return damaged(err, "it is");
	(void)wire_get_str(&r); /* nonce */
	if (read_key(cert, t, &r, err) < 0 || read_body(cert, &r, err) < 0)
		return -1;
	line = wire_trim(line);
	free(cert->key.comment);
	cert->key.comment = xstrndup((const char *)line.p, line.n);
	return 0;
}

int
ssh_cert_parse(const char *s, size_t n, struct ssh_cert *ret_cert, struct err *err)
{
	AUTO_CERT struct ssh_cert cert = {0};

	if (n > SSH_CERT_TEXT_MAX)
		return err_set(err, ERR_INVALID,
		    "certificate: it is longer than %d bytes", SSH_CERT_TEXT_MAX);
	if (memchr(s, '\0', n))
		return err_set(
		    err, ERR_INVALID, "certificate: there is a NUL byte in it");
	if (parse_line((struct wire_str){(const uint8_t *)s, n}, &cert, err) < 0)
		return err_wrap(err, "certificate");
	*ret_cert = cert;
	cert = (struct ssh_cert){0};
	return 0;
}

/* The 64 bytes of an Ed25519 signature, which stand wrapped twice at the end of the blob.
 */
static bool
get_signature(const struct ssh_cert *cert, struct wire_str *ret_sig)
{
	struct wire_reader r =
	    wire_reader(cert->blob + cert->signed_len, cert->blob_len - cert->signed_len);
	struct wire_str outer = wire_get_str(&r), type;

	r = wire_reader(outer.p, outer.n);
	type = wire_get_str(&r);
	*ret_sig = wire_get_str(&r);
	return !r.bad && r.left == 0 && wire_str_is(type, "ssh-ed25519") &&
	       ret_sig->n == 64;
}

int
ssh_cert_verify(const struct ssh_cert *cert, const struct ssh_pubkey *ca, struct err *err)
{
	struct wire_str sig;
	EVP_PKEY *key;
	EVP_MD_CTX *ctx;
	bool ok;

	if (!ssh_pubkey_equal(&cert->ca, ca))
		return err_set(
		    err, ERR_NOT_PERMITTED, "certificate: another CA signed it");
	if (strcmp(ca->type, "ssh-ed25519") != 0 || !get_signature(cert, &sig))
		return err_set(err, ERR_NOT_PERMITTED,
		    "certificate: its signature is not an Ed25519 one");
	/* The key is the last thing in its blob. */
	key = EVP_PKEY_new_raw_public_key(
	    EVP_PKEY_ED25519, NULL, ca->blob + ca->blob_len - 32, 32);
	ctx = EVP_MD_CTX_new();
	ok = key && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
	     EVP_DigestVerify(ctx, sig.p, sig.n, cert->blob, cert->signed_len) == 1;
	ERR_clear_error();
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return ok ? 0
		  : err_set(
			err, ERR_NOT_PERMITTED, "certificate: its signature is wrong");
}
