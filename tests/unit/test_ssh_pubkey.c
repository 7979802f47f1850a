/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: every key that ssh-keygen makes and we accept reads as OpenSSH reads it, and
   everything else a user might give is refused by the name of what is wrong with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ssh/pubkey.h"
#include "ssh/wire.h"
#include "sshtest.h"

static char *ed25519; /* a good line, without a newline */

static int
enter(void **state)
{
	if (sshtest_enter(state) < 0)
		return -1;
	free(sshtest_keygen(
	    "-q", "-t", "ed25519", "-N", "", "-C", "you@host", "-f", "good"));
	ed25519 = sshtest_read("good.pub", NULL);
	ed25519[strcspn(ed25519, "\n")] = '\0';
	return 0;
}

static int
leave(void **state)
{
	free(ed25519);
	return sshtest_leave(state);
}

/* Our reading of the file `name`.pub against ssh-keygen's. */
static void
compare(const char *name)
{
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	AUTO_FREE char *pub = xasprintf("%s.pub", name);
	AUTO_FREE char *theirs = NULL, *print = NULL, *line = NULL, *text = NULL;
	struct err err;
	size_t n;

	text = sshtest_read(pub, &n);
	if (ssh_pubkey_parse(text, n, &key, &err) < 0)
		fail_msg("%s: %s", name, err.msg);
	theirs = sshtest_keygen("-l", "-f", pub);
	print = ssh_pubkey_fingerprint(&key);
	if (!strstr(theirs, print))
		fail_msg("%s: '%s' is not in '%s'", name, print, theirs);
	line = ssh_pubkey_line(&key);
	text[n - 1] = '\0';
	assert_string_equal(line, text);
}

static void
reads_every_accepted_type(void **state)
{
	static const struct {
		const char *type, *bits;
	} types[] = {{"ed25519", "256"}, {"ecdsa", "256"}, {"ecdsa", "384"},
	    {"ecdsa", "521"}, {"rsa", "2048"}, {"rsa", "3072"}};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		AUTO_FREE char *name = xasprintf("key-%zu", i);

		free(sshtest_keygen("-q", "-t", types[i].type, "-b", types[i].bits, "-N",
		    "", "-C", "Ünï çödé 鍵 user@host", "-f", name));
		compare(name);
	}
}

/* ssh-keygen makes FIDO keys only with the hardware, so these are put together from
 * others. */
static void
write_security_key(const char *file, const char *type, const char *from)
{
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	AUTO_BUF struct buf b = BUF_INIT(0), line = BUF_INIT(0);
	AUTO_FREE char *text = NULL;
	struct err err;
	size_t n;

	text = sshtest_read(from, &n);
	assert_int_equal(ssh_pubkey_parse(text, n, &key, &err), 0);
	wire_put_cstr(&b, type);
	buf_add(&b, key.blob + 4 + strlen(key.type), key.blob_len - 4 - strlen(key.type));
	wire_put_cstr(&b, "ssh:");
	buf_fmt(&line, "%s ", type);
	wire_base64_encode(b.data, b.len, true, &line);
	buf_str(&line, " key\n");
	sshtest_write(file, line.data, line.len);
}

static void
reads_security_keys(void **state)
{
	free(sshtest_keygen("-q", "-t", "ecdsa", "-b", "256", "-N", "", "-f", "p256"));
	write_security_key("sk-ed.pub", "sk-ssh-ed25519@openssh.com", "good.pub");
	write_security_key("sk-ec.pub", "sk-ecdsa-sha2-nistp256@openssh.com", "p256.pub");
	compare("sk-ed");
	compare("sk-ec");
}

static void
white_space_around_is_fine(void **state)
{
	static const char *const formats[] = {
	    "%s", "%s\n", "%s\r\n", "  %s  \n", "\n\n%s\n\n", "\t%s"};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		AUTO_PUBKEY struct ssh_pubkey key = {0};
		AUTO_BUF struct buf text = BUF_INIT(0);
		struct err err;
		const char *at = strstr(formats[i], "%s");

		buf_add(&text, formats[i], (size_t)(at - formats[i]));
		buf_str(&text, ed25519);
		buf_str(&text, at + 2);
		assert_int_equal(ssh_pubkey_parse(text.data, text.len, &key, &err), 0);
		assert_string_equal(key.comment, "you@host");
	}
}

static void
the_comment_may_be_missing_or_mention_a_type(void **state)
{
	AUTO_PUBKEY struct ssh_pubkey bare = {0}, key = {0}, full = {0};
	AUTO_FREE char *text = xstrndup(ed25519, strlen(ed25519) - strlen(" you@host"));
	AUTO_FREE char *mention = xasprintf("%s not my ssh-rsa key", text);
	AUTO_FREE char *line = NULL;
	struct err err;

	assert_int_equal(ssh_pubkey_parse(text, strlen(text), &bare, &err), 0);
	assert_string_equal(bare.comment, "");
	line = ssh_pubkey_line(&bare);
	assert_string_equal(line, text);
	assert_int_equal(ssh_pubkey_parse(mention, strlen(mention), &key, &err), 0);
	assert_int_equal(ssh_pubkey_parse(ed25519, strlen(ed25519), &full, &err), 0);
	assert_true(ssh_pubkey_equal(&bare, &full));
	full.blob[full.blob_len - 1] ^= 1;
	assert_false(ssh_pubkey_equal(&bare, &full));
}

static void
refused(const char *text, size_t n, const char *why)
{
	struct ssh_pubkey key = {.type = "untouched"};
	struct err err = {0};

	if (ssh_pubkey_parse(text, n, &key, &err) == 0)
		fail_msg("accepted: wanted '%s'", why);
	assert_int_equal(err.code, ERR_INVALID);
	assert_string_equal(key.type, "untouched");
	if (!strstr(err.msg, why) || strncmp(err.msg, "public key: ", 12) != 0)
		fail_msg("wanted '%s' and got '%s'", why, err.msg);
	if (strpbrk(err.msg, "\n\r\t\x1b") || !err.hint[0])
		fail_msg("not one clean line with a hint: '%s' '%s'", err.msg, err.hint);
}

static void
refuses_what_is_no_key_line(void **state)
{
	AUTO_FREE char *options = xasprintf("command=\"a b\",no-pty %s", ed25519);
	AUTO_FREE char *two = xasprintf("%s %s", ed25519, ed25519);
	AUTO_FREE char *lines = xasprintf("%s\n%s\n", ed25519, ed25519);
	AUTO_FREE char *escape = xasprintf("%s\x1b[2J", ed25519);
	AUTO_FREE char *c1 = xasprintf("%s\xc2\x9b", ed25519);
	AUTO_FREE char *latin1 = xasprintf("%s J\xfcrgen", ed25519);
	AUTO_FREE char *overlong = xasprintf("%s \xc0\xaf", ed25519);
	AUTO_FREE char *big = xcalloc(1, SSH_PUBKEY_TEXT_MAX + 2);
	char nul[256] = {0};

	refused("", 0, "it is empty");
	refused(" \n", 2, "it is empty");
	refused("\0", 1, "NUL");
	strcpy(nul, ed25519);
	refused(nul, strlen(ed25519) + 1, "NUL");
	nul[20] = '\0';
	refused(nul, strlen(ed25519), "NUL");
	refused(options, strlen(options), "options in front");
	refused(two, strlen(two), "two keys");
	refused(lines, strlen(lines), "more than one line");
	refused(escape, strlen(escape), "control character");
	refused(c1, strlen(c1), "control character");
	refused(latin1, strlen(latin1), "not UTF-8");
	refused(overlong, strlen(overlong), "not UTF-8");
	refused("hello", 5, "unknown key type 'hello'");
	refused("\x1b[31m x", 7, "does not begin with a key type");
	refused("ssh-ed25519", 11, "missing");
	refused("ssh-ed25519 !!!!", 16, "no base64");
	memset(big, 'a', SSH_PUBKEY_TEXT_MAX + 1);
	refused(big, SSH_PUBKEY_TEXT_MAX + 1, "longer than");
}

static void
refuses_another_file_of_the_same_key(void **state)
{
	AUTO_FREE char *out = NULL, *cert = NULL, *rfc = NULL, *pem = NULL, *pkcs8 = NULL;
	size_t n;

	out = sshtest_read("good", &n);
	refused(out, n, "that is a private key");
	free(sshtest_keygen(
	    "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", "pem"));
	free(out);
	out = sshtest_read("pem", &n);
	refused(out, n, "that is a private key");
	free(sshtest_keygen(
	    "-q", "-s", "good", "-I", "id", "-n", "me", "-z", "1", "good.pub"));
	cert = sshtest_read("good-cert.pub", &n);
	refused(cert, n, "that is a certificate");
	rfc = sshtest_keygen("-e", "-f", "pem.pub");
	refused(rfc, strlen(rfc), "RFC 4716");
	pem = sshtest_keygen("-e", "-m", "PEM", "-f", "pem.pub");
	refused(pem, strlen(pem), "PEM");
	pkcs8 = sshtest_keygen("-e", "-m", "PKCS8", "-f", "pem.pub");
	refused(pkcs8, strlen(pkcs8), "PKCS8");
}

static void
refuses_weak_keys(void **state)
{
	AUTO_FREE char *rsa = NULL, *dsa = NULL;
	size_t n;

	free(sshtest_keygen("-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", "short"));
	rsa = sshtest_read("short.pub", &n);
	refused(rsa, n, "1024 bits is too short");
	free(sshtest_keygen("-q", "-t", "dsa", "-N", "", "-f", "dsa"));
	dsa = sshtest_read("dsa.pub", &n);
	refused(dsa, n, "DSA");
}

/* A line with this blob, which says `type`. */
static char *
line_of(const char *type, const struct buf *blob)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_fmt(&b, "%s ", type);
	wire_base64_encode(blob->data, blob->len, true, &b);
	return buf_take(&b);
}

static void
refused_blob(const char *type, const struct buf *blob, const char *why)
{
	AUTO_FREE char *line = line_of(type, blob);

	refused(line, strlen(line), why);
}

static void
every_truncation_is_refused(void **state)
{
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	size_t key_end = strlen(ed25519) - strlen(" you@host");
	struct err err;

	for (size_t n = 0; n < key_end; n++) {
		struct ssh_pubkey none;

		if (ssh_pubkey_parse(ed25519, n, &none, &err) == 0)
			fail_msg("accepted the first %zu characters", n);
	}
	assert_int_equal(ssh_pubkey_parse(ed25519, strlen(ed25519), &key, &err), 0);
	for (size_t n = 0; n < key.blob_len; n++) {
		AUTO_BUF struct buf blob = BUF_INIT(0);

		buf_add(&blob, key.blob, n);
		refused_blob("ssh-ed25519", &blob, n ? "cut short" : "missing");
	}
}

static void
refuses_blobs_that_lie(void **state)
{
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	AUTO_BUF struct buf longer = BUF_INIT(0), wide = BUF_INIT(0), plain = BUF_INIT(0);
	struct err err;

	assert_int_equal(ssh_pubkey_parse(ed25519, strlen(ed25519), &key, &err), 0);
	buf_add(&plain, key.blob, key.blob_len);
	refused_blob(
	    "ssh-rsa", &plain, "says 'ssh-rsa' but holds a key of type 'ssh-ed25519'");
	buf_add(&longer, key.blob, key.blob_len);
	buf_char(&longer, 0);
	refused_blob("ssh-ed25519", &longer, "1 bytes too many");
	wire_put_cstr(&wide, "ssh-ed25519");
	wire_put_str(&wide, "123456789012345678901234567890123", 33);
	refused_blob("ssh-ed25519", &wide, "has 32 bytes, this one 33");
}

static void
refuses_points_off_the_curve(void **state)
{
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	AUTO_BUF struct buf off = BUF_INIT(0), other = BUF_INIT(0),
			    infinity = BUF_INIT(0);
	AUTO_FREE char *text = NULL;
	struct err err;
	size_t n;

	free(sshtest_keygen("-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", "p384"));
	text = sshtest_read("p384.pub", &n);
	assert_int_equal(ssh_pubkey_parse(text, n, &key, &err), 0);
	buf_add(&off, key.blob, key.blob_len);
	off.data[off.len - 1] ^= 1;
	refused_blob("ecdsa-sha2-nistp384", &off, "not on the curve nistp384");
	buf_add(&other, key.blob, key.blob_len);
	memcpy(memmem(other.data + 23, other.len - 23, "nistp384", 8), "nistp256", 8);
	refused_blob("ecdsa-sha2-nistp384", &other, "must be on the curve nistp384");
	wire_put_cstr(&infinity, "ecdsa-sha2-nistp384");
	wire_put_cstr(&infinity, "nistp384");
	wire_put_str(&infinity, "\0", 1);
	refused_blob("ecdsa-sha2-nistp384", &infinity, "not on the curve");
}

static void
put_rsa(struct buf *b, size_t bits, const char *e, size_t e_len, uint8_t last)
{
	AUTO_FREE uint8_t *n = xcalloc(1, bits / 8 + 1);

	n[1] = 0x80;
	n[bits / 8] = last;
	wire_put_cstr(b, "ssh-rsa");
	wire_put_str(b, e, e_len);
	wire_put_str(b, n, bits / 8 + 1);
}

static void
refuses_impossible_rsa_keys(void **state)
{
	AUTO_BUF struct buf even = BUF_INIT(0), one = BUF_INIT(0), lng = BUF_INIT(0),
			    neg = BUF_INIT(0);

	put_rsa(&even, 2048, "\1\0\1", 3, 0x02);
	refused_blob("ssh-rsa", &even, "cannot be an RSA key's");
	put_rsa(&one, 2048, "\1", 1, 0x01);
	refused_blob("ssh-rsa", &one, "cannot be an RSA key's");
	put_rsa(&lng, 16392, "\1\0\1", 3, 0x01);
	refused_blob("ssh-rsa", &lng, "16392 bits is too long");
	put_rsa(&neg, 2048, "\x81\0\1", 3, 0x01);
	refused_blob("ssh-rsa", &neg, "damaged");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_every_accepted_type),
	    cmocka_unit_test(reads_security_keys),
	    cmocka_unit_test(white_space_around_is_fine),
	    cmocka_unit_test(the_comment_may_be_missing_or_mention_a_type),
	    cmocka_unit_test(refuses_what_is_no_key_line),
	    cmocka_unit_test(refuses_another_file_of_the_same_key),
	    cmocka_unit_test(refuses_weak_keys),
	    cmocka_unit_test(every_truncation_is_refused),
	    cmocka_unit_test(refuses_blobs_that_lie),
	    cmocka_unit_test(refuses_points_off_the_curve),
	    cmocka_unit_test(refuses_impossible_rsa_keys),
	};

	return cmocka_run_group_tests(tests, enter, leave);
}
