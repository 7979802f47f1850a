/* SPDX-License-Identifier: Apache-2.0 */
#include "ssh/pubkey.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ssh/keytype.h"
#include "ssh/wire.h"

static bool
contains(struct wire_str s, const char *text)
{
	return memmem(s.p, s.n, text, strlen(text)) != NULL;
}

/* What people give in the place of a .pub file, by a text that only that holds. */
/* clang-format off */
static const struct mistake {
	const char *sign;
	const char *what;
	const char *hint;
} mistakes[] = {
	{ "PRIVATE KEY-----", "that is a private key", "give the .pub file" },
	{ "PuTTY-User-Key-File", "that is a private key, in PuTTY's format",
	  "give the public key that PuTTYgen shows for OpenSSH" },
	{ "BEGIN SSH2 PUBLIC KEY", "that is in the RFC 4716 format",
	  "convert it with ssh-keygen -i -f FILE" },
	{ "BEGIN RSA PUBLIC KEY", "that is in PEM format",
	  "convert it with ssh-keygen -i -m PEM -f FILE" },
	{ "BEGIN PUBLIC KEY", "that is in PKCS8 format",
	  "convert it with ssh-keygen -i -m PKCS8 -f FILE" },
};
/* clang-format on */

static int
check_text(struct wire_str s, struct err *err)
{
	if (s.n == 0) {
		err_set(err, ERR_INVALID, "it is empty");
		return err_hint(err,
		    "give the contents of a .pub file, such as ~/.ssh/id_ed25519.pub");
	}
	if (memchr(s.p, '\0', s.n)) {
		err_set(err, ERR_INVALID, "there is a NUL byte in it");
		return err_hint(err, "give the text of a .pub file");
	}
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++)
		if (contains(s, mistakes[i].sign)) {
			err_set(err, ERR_INVALID, "%s", mistakes[i].what);
			return err_hint(err, "%s", mistakes[i].hint);
		}
	if (memchr(s.p, '\n', s.n) || memchr(s.p, '\r', s.n)) {
		err_set(err, ERR_INVALID, "it has more than one line");
		return err_hint(err, "give each key by itself, on one line");
	}
	return 0;
}

/* The type of the first key within `s`, or NULL: a comment may well say "my ssh-rsa key".
 */
static const struct ssh_key_type *
key_within(struct wire_str s)
{
	const struct ssh_key_type *t = NULL;

	for (;;) {
		struct wire_str word = wire_word(&s);

		if (word.n == 0)
			return NULL;
		if (t && word.n >= 4 && memcmp(word.p, "AAAA", 4) == 0)
			return t;
		t = ssh_key_type_named(word);
	}
}

/* `type` is the first word and no key type; `rest` what follows it. */
static int
refuse_type(struct wire_str type, struct wire_str rest, struct err *err)
{
	const struct ssh_key_type *t = key_within(rest);

	if (contains(type, "-cert-v0")) {
		err_set(err, ERR_INVALID, "that is a certificate");
		return err_hint(
		    err, "give the .pub file of the key, without -cert in its name");
	}
	if (wire_str_is(type, "ssh-dss")) {
		err_set(
		    err, ERR_INVALID, "DSA keys are not secure and OpenSSH refuses them");
		return err_hint(err, "make a new one with ssh-keygen -t ed25519");
	}
	if (t) {
		err_set(err, ERR_INVALID, "there are options in front of the key");
		return err_hint(err, "leave out all before '%s'", t->name);
	}
	for (size_t i = 0; i < type.n; i++)
		if (type.n > 40 || type.p[i] < '!' || type.p[i] > '~') {
			err_set(err, ERR_INVALID, "it does not begin with a key type");
			return err_hint(
			    err, "give a line like 'ssh-ed25519 AAAA… you@host'");
		}
	err_set(err, ERR_INVALID, "unknown key type '%.*s'", (int)type.n,
	    (const char *)type.p);
	return err_hint(
	    err, "use ssh-ed25519, ecdsa-sha2-nistp256/384/521, ssh-rsa or a FIDO key");
}

/* The length of the character at s (UTF-8, RFC 3629), 0 if it is none or a control
 * character. */
static size_t
printable(struct wire_str s)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint8_t c = s.p[0];
	size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	uint32_t v = n == 1 ? c : c & (0xff >> (n + 1));

	if ((c >= 0x80 && c < 0xc0) || c >= 0xf8 || n > s.n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s.p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (s.p[i] & 0x3f);
	}
	if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
		return 0;
	return v < 0x20 || (v >= 0x7f && v < 0xa0) ? 0 : n;
}

static int
check_comment(struct wire_str comment, struct err *err)
{
	size_t k;

	if (key_within(comment)) {
		err_set(err, ERR_INVALID, "there are two keys on the line");
		return err_hint(err, "give each key by itself, on one line");
	}
	for (struct wire_str s = comment; s.n; s.p += k, s.n -= k) {
		k = printable(s);
		if (k == 0) {
			err_set(err, ERR_INVALID,
			    "its comment has a control character or is not UTF-8");
			return err_hint(
			    err, "leave out the comment, the text after the key");
		}
	}
	return 0;
}

static int
check_blob(const struct ssh_key_type *t, const void *blob, size_t n, struct err *err)
{
	struct wire_reader r = wire_reader(blob, n);
	struct wire_str type = wire_get_str(&r);

	if (r.bad || !ssh_key_type_named(type)) {
		err_set(err, ERR_INVALID, "the key after '%s' is cut short or damaged",
		    t->name);
		return err_hint(err, "copy the whole line of the .pub file");
	}
	if (!wire_str_is(type, t->name)) {
		err_set(err, ERR_INVALID, "it says '%s' but holds a key of type '%.*s'",
		    t->name, (int)type.n, (const char *)type.p);
		return err_hint(err, "copy the line of the .pub file unchanged");
	}
	if (ssh_key_type_read(t, &r, err) < 0)
		return err->hint[0]
			   ? -1
			   : err_hint(err, "copy the line of the .pub file unchanged");
	if (r.left) {
		err_set(err, ERR_INVALID, "there are %zu bytes too many behind the key",
		    r.left);
		return err_hint(err, "copy the line of the .pub file unchanged");
	}
	return 0;
}

static int
parse_line(struct wire_str line, struct ssh_pubkey *ret_key, struct err *err)
{
	AUTO_BUF struct buf blob = BUF_INIT(SSH_PUBKEY_TEXT_MAX);
	struct wire_str type, base64, rest = line;
	const struct ssh_key_type *t;

	if (check_text(line, err) < 0)
		return -1;
	type = wire_word(&rest);
	t = ssh_key_type_named(type);
	if (!t)
		return refuse_type(type, rest, err);
	base64 = wire_word(&rest);
	if (base64.n == 0 || !wire_base64_decode(base64, &blob)) {
		err_set(err, ERR_INVALID, "the part after '%s' is %s", t->name,
		    base64.n ? "cut short or no base64" : "missing");
		return err_hint(err, "copy the whole line of the .pub file");
	}
	rest = wire_trim(rest);
	if (check_blob(t, blob.data, blob.len, err) < 0 || check_comment(rest, err) < 0)
		return -1;
	*ret_key = (struct ssh_pubkey){.type = t->name,
	    .blob_len = blob.len,
	    .comment = xstrndup((const char *)rest.p, rest.n)};
	ret_key->blob = (uint8_t *)buf_take(&blob);
	return 0;
}

int
ssh_pubkey_parse(const char *s, size_t n, struct ssh_pubkey *ret_key, struct err *err)
{
	if (n > SSH_PUBKEY_TEXT_MAX) {
		err_set(err, ERR_INVALID, "public key: it is longer than %d bytes",
		    SSH_PUBKEY_TEXT_MAX);
		return err_hint(err, "give the .pub file of one key");
	}
	if (parse_line(
		wire_trim((struct wire_str){(const uint8_t *)s, n}), ret_key, err) < 0)
		return err_wrap(err, "public key");
	return 0;
}

int
ssh_pubkey_from_blob(const void *blob, size_t n, const char *comment,
    struct ssh_pubkey *ret_key, struct err *err)
{
	struct wire_reader r = wire_reader(blob, n);
	const struct ssh_key_type *t = ssh_key_type_named(wire_get_str(&r));

	if (!t)
		return err_set(err, ERR_INVALID, "public key: unknown key type");
	if (check_blob(t, blob, n, err) < 0)
		return err_wrap(err, "public key");
	ssh_pubkey_copy(
	    &(struct ssh_pubkey){t->name, (uint8_t *)blob, n, (char *)comment}, ret_key);
	return 0;
}

void
ssh_pubkey_copy(const struct ssh_pubkey *key, struct ssh_pubkey *ret_key)
{
	uint8_t *blob = xmalloc(key->blob_len);

	memcpy(blob, key->blob, key->blob_len);
	*ret_key = (struct ssh_pubkey){.type = key->type,
	    .blob = blob,
	    .blob_len = key->blob_len,
	    .comment = xstrdup(key->comment)};
}

void
ssh_pubkey_fini(struct ssh_pubkey *key)
{
	free(key->blob);
	free(key->comment);
	*key = (struct ssh_pubkey){0};
}

char *
ssh_pubkey_line(const struct ssh_pubkey *key)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_str(&b, key->type);
	buf_char(&b, ' ');
	wire_base64_encode(key->blob, key->blob_len, true, &b);
	if (key->comment[0]) {
		buf_char(&b, ' ');
		buf_str(&b, key->comment);
	}
	return buf_take(&b);
}

char *
ssh_pubkey_fingerprint(const struct ssh_pubkey *key)
{
	AUTO_BUF struct buf b = BUF_INIT(0);
	uint8_t sum[SHA256_DIGEST_LENGTH];

	SHA256(key->blob, key->blob_len, sum);
	buf_str(&b, "SHA256:");
	wire_base64_encode(sum, sizeof(sum), false, &b);
	return buf_take(&b);
}

bool
ssh_pubkey_equal(const struct ssh_pubkey *a, const struct ssh_pubkey *b)
{
	return a->blob_len == b->blob_len && memcmp(a->blob, b->blob, a->blob_len) == 0;
}
