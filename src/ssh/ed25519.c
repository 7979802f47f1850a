/* SPDX-License-Identifier: Apache-2.0 */
#include "ssh/ed25519.h"

#include <assert.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/xalloc.h"
#include "ssh/pubkey.h"
#include "ssh/wire.h"

#define TYPE "ssh-ed25519"
#define MAGIC "openssh-key-v1" /* with its NUL */
#define HEAD "-----BEGIN OPENSSH PRIVATE KEY-----\n"
#define TAIL "-----END OPENSSH PRIVATE KEY-----"
#define LINE 70 /* base64 characters in a line, as ssh-keygen writes it */
#define BLOB_MAX (4 + sizeof(TYPE) - 1 + 4 + 32)

static int
public_of(const uint8_t seed[32], uint8_t ret_pub[32], struct err *err)
{
	EVP_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
	size_t n = 32;
	int ok = k && EVP_PKEY_get_raw_public_key(k, ret_pub, &n) == 1 && n == 32;

	EVP_PKEY_free(k);
	return ok ? 0 : err_set(err, ERR_INTERNAL, "OpenSSL has no Ed25519");
}

int
ssh_ed25519_generate(struct ssh_ed25519 *ret_pair, struct err *err)
{
	AUTO_ED25519 struct ssh_ed25519 pair;

	if (RAND_priv_bytes(pair.seed, sizeof(pair.seed)) != 1)
		return err_set(err, ERR_INTERNAL, "OpenSSL has no random numbers");
	if (public_of(pair.seed, pair.pub, err) < 0)
		return -1;
	*ret_pair = pair;
	return 0;
}

void
ssh_ed25519_fini(struct ssh_ed25519 *pair)
{
	OPENSSL_cleanse(pair, sizeof(*pair));
}

static void
put_public(struct buf *b, const struct ssh_ed25519 *pair)
{
	wire_put_cstr(b, TYPE);
	wire_put_str(b, pair->pub, sizeof(pair->pub));
}

void
ssh_ed25519_public(
    const struct ssh_ed25519 *pair, const char *comment, struct ssh_pubkey *ret_key)
{
	struct buf b = BUF_INIT(BLOB_MAX);

	put_public(&b, pair);
	*ret_key = (struct ssh_pubkey){
	    .type = TYPE, .blob_len = b.len, .comment = xstrdup(comment)};
	ret_key->blob = (uint8_t *)buf_take(&b);
}

static void
put_private(
    struct buf *b, const struct ssh_ed25519 *pair, const char *comment, uint32_t check)
{
	size_t outer = wire_open(b);

	buf_u32be(b, check);
	buf_u32be(b, check);
	put_public(b, pair);
	buf_u32be(b, sizeof(pair->seed) + sizeof(pair->pub));
	buf_add(b, pair->seed, sizeof(pair->seed));
	buf_add(b, pair->pub, sizeof(pair->pub));
	wire_put_cstr(b, comment);
	for (char i = 1; (b->len - outer) % 8; i++)
		buf_char(b, i);
	wire_close(b, outer);
}

int
ssh_ed25519_to_text(const struct ssh_ed25519 *pair, const char *comment, struct buf *text,
    struct err *err)
{
	AUTO_WIPE struct buf b = wire_secret(SSH_ED25519_TEXT_MAX / 2);
	uint32_t check;
	size_t mark;

	assert(strlen(comment) <= SSH_ED25519_COMMENT_MAX && text->len == 0);
	if (RAND_bytes((unsigned char *)&check, sizeof(check)) != 1)
		return err_set(err, ERR_INTERNAL, "OpenSSL has no random numbers");
	buf_add(&b, MAGIC, sizeof(MAGIC));
	wire_put_cstr(&b, "none");
	wire_put_cstr(&b, "none");
	wire_put_cstr(&b, "");
	buf_u32be(&b, 1);
	mark = wire_open(&b);
	put_public(&b, pair);
	wire_close(&b, mark);
	put_private(&b, pair, comment, check);

	buf_str(text, HEAD);
	/* LINE characters are not whole groups of base64, so it is encoded once and then
	 * cut. */
	AUTO_WIPE struct buf base64 = wire_secret(SSH_ED25519_TEXT_MAX);
	wire_base64_encode(b.data, b.len, true, &base64);
	for (size_t i = 0; i < base64.len; i += LINE) {
		buf_add(
		    text, base64.data + i, base64.len - i < LINE ? base64.len - i : LINE);
		buf_char(text, '\n');
	}
	buf_str(text, TAIL "\n");
	assert(!b.overflow && !base64.overflow && !text->overflow);
	return 0;
}

/* What stands between the two marks, without line ends. */
static bool
unarmour(struct wire_str text, struct buf *base64)
{
	const uint8_t *end;

	text = wire_trim(text);
	if (text.n < strlen(HEAD) || memcmp(text.p, HEAD, strlen(HEAD)) != 0)
		return false;
	text.p += strlen(HEAD);
	text.n -= strlen(HEAD);
	end = memmem(text.p, text.n, TAIL, strlen(TAIL));
	if (!end || end + strlen(TAIL) != text.p + text.n)
		return false;
	text.n = (size_t)(end - text.p);
	for (struct wire_str line = wire_word(&text); line.n; line = wire_word(&text))
		buf_add(base64, line.p, line.n);
	return !base64->overflow;
}

static bool
get_public(struct wire_reader *r, struct wire_str *ret_pub)
{
	struct wire_str type = wire_get_str(r);

	*ret_pub = wire_get_str(r);
	return !r->bad && wire_str_is(type, TYPE) && ret_pub->n == 32;
}

static bool
get_private(struct wire_str section, struct wire_str pub, uint8_t ret_seed[32])
{
	struct wire_reader r = wire_reader(section.p, section.n);
	uint32_t check = wire_get_u32(&r);
	bool same = wire_get_u32(&r) == check;
	struct wire_str inner, secret;

	if (!get_public(&r, &inner))
		return false;
	secret = wire_get_str(&r);
	(void)wire_get_str(&r); /* comment */
	if (r.bad || !same || secret.n != 64 || r.left >= 8)
		return false;
	for (size_t i = 0; i < r.left; i++)
		if (r.p[i] != i + 1)
			return false;
	memcpy(ret_seed, secret.p, 32);
	return memcmp(inner.p, pub.p, 32) == 0 && memcmp(secret.p + 32, pub.p, 32) == 0;
}

static int
read_blob(const struct buf *b, struct ssh_ed25519 *pair, struct err *err)
{
	struct wire_reader r = wire_reader(b->data, b->len), k;
	struct wire_str magic = wire_get_bytes(&r, sizeof(MAGIC));
	struct wire_str cipher = wire_get_str(&r), pub, section;
	uint8_t derived[32];

	(void)wire_get_str(
	    &r); /* key derivation and its options: of no use without a cipher */
	(void)wire_get_str(&r);
	if (r.bad || memcmp(magic.p, MAGIC, sizeof(MAGIC)) != 0 || wire_get_u32(&r) != 1)
		return err_set(err, ERR_INVALID, "it is damaged");
	if (!wire_str_is(cipher, "none"))
		return err_set(err, ERR_INVALID,
		    "it has a passphrase, and nobody is here to type it");
	pub = wire_get_str(&r);
	section = wire_get_str(&r);
	k = wire_reader(pub.p, pub.n);
	if (!get_public(&k, &pub) || k.left)
		return err_set(err, ERR_INVALID, "it is not an Ed25519 key");
	if (r.bad || r.left || !get_private(section, pub, pair->seed))
		return err_set(err, ERR_INVALID, "it is damaged");
	if (public_of(pair->seed, derived, err) < 0)
		return -1;
	if (memcmp(derived, pub.p, 32) != 0)
		return err_set(
		    err, ERR_INVALID, "its public half does not belong to the secret");
	memcpy(pair->pub, derived, 32);
	return 0;
}

int
ssh_ed25519_from_text(
    const char *text, size_t n, struct ssh_ed25519 *ret_pair, struct err *err)
{
	AUTO_WIPE struct buf base64 = wire_secret(SSH_ED25519_TEXT_MAX);
	AUTO_WIPE struct buf blob = wire_secret(SSH_ED25519_TEXT_MAX);
	AUTO_ED25519 struct ssh_ed25519 pair = {0};

	if (!unarmour((struct wire_str){(const uint8_t *)text, n}, &base64) ||
	    !wire_base64_decode(
		(struct wire_str){(const uint8_t *)base64.data, base64.len}, &blob))
		return err_set(
		    err, ERR_INVALID, "it is not the text of an OpenSSH private key");
	if (read_blob(&blob, &pair, err) < 0)
		return -1;
	*ret_pair = pair;
	return 0;
}
