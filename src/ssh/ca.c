/* SPDX-License-Identifier: Apache-2.0 */
#include "ssh/ca.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ssh/ed25519.h"
#include "ssh/keytype.h"
#include "ssh/wire.h"

struct ssh_ca {
	EVP_PKEY *key;
	EVP_MD_CTX *ctx;
	struct ssh_pubkey pub;
	struct buf scratch; /* of one certificate; kept to save the allocation */
};

static int
check_file(int fd, const char *name, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(err, errno, "%s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "%s is not a regular file", name);
	if (st.st_uid != geteuid()) {
		err_set(err, ERR_NOT_PERMITTED,
		    "%s belongs to uid %u, and this is uid %u", name, (unsigned)st.st_uid,
		    (unsigned)geteuid());
		return err_hint(
		    err, "chown it if that is right; who owns it can log in everywhere");
	}
	if (st.st_mode & 077) {
		err_set(err, ERR_NOT_PERMITTED, "others may read or write %s (mode %04o)",
		    name, (unsigned)st.st_mode & 07777);
		return err_hint(err, "if nobody has read it, chmod 600; else stop all "
				     "machines and remove it");
	}
	return 0;
}

/* Straight into the buffer that will be wiped. */
static int
read_all(int fd, const char *name, struct buf *text, struct err *err)
{
	ssize_t n = 1;

	while (n > 0 && text->len < text->max) {
		n = read(fd, text->data + text->len, text->max - text->len);
		if (n < 0)
			return err_errno(err, errno, "%s", name);
		text->len += (size_t)n;
	}
	if (n > 0)
		return err_set(err, ERR_INVALID, "%s is too large for a CA key", name);
	return 0;
}

static int
write_all(int fd, const struct buf *b)
{
	size_t done = 0;

	while (done < b->len) {
		ssize_t n = write(fd, b->data + done, b->len - done);

		if (n < 0 && errno != EINTR)
			return -1;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* ERR_NOT_FOUND if there is no such file. */
static int
load(int dirfd, const char *name, struct ssh_ed25519 *ret_pair, struct err *err)
{
	AUTO_WIPE struct buf text = wire_secret(SSH_ED25519_TEXT_MAX);
	AUTO_CLOSE int fd = openat(
	    dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, errno, "%s", name);
	if (check_file(fd, name, err) < 0 || read_all(fd, name, &text, err) < 0)
		return -1;
	if (ssh_ed25519_from_text(text.data, text.len, ret_pair, err) < 0) {
		err_wrap(err, "%s", name);
		return err_hint(err,
		    "restore it from a backup; a new one locks users out of "
		    "running machines");
	}
	return 0;
}

static int
write_new(
    int dirfd, const char *tmp, const char *name, const struct buf *text, struct err *err)
{
	AUTO_CLOSE int fd = openat(
	    dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(err, errno, "%s", tmp);
	if (fchmod(fd, 0600) < 0 || write_all(fd, text) < 0 || fsync(fd) < 0)
		return err_errno(err, errno, "%s", tmp);
	/* link and not rename: whoever comes first stays, the other one loads that. */
	if (linkat(dirfd, tmp, dirfd, name, 0) < 0 && errno != EEXIST)
		return err_errno(err, errno, "%s", name);
	return 0;
}

/* Opened anew: the caller's may be O_PATH or AT_FDCWD, which cannot be synced. */
static int
sync_dir(int dirfd, const char *name, struct err *err)
{
	AUTO_CLOSE int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return err_errno(err, errno, "the directory of %s", name);
	return 0;
}

static int
create(int dirfd, const char *name, struct err *err)
{
	AUTO_WIPE struct buf text = wire_secret(SSH_ED25519_TEXT_MAX);
	AUTO_ED25519 struct ssh_ed25519 pair = {0};
	AUTO_FREE char *tmp = NULL;
	uint64_t nonce;
	int rc;

	if (ssh_ed25519_generate(&pair, err) < 0 ||
	    ssh_ed25519_to_text(&pair, name, &text, err) < 0)
		return -1;
	if (getrandom(&nonce, sizeof(nonce), 0) != (ssize_t)sizeof(nonce))
		return err_errno(err, errno, "getrandom");
	tmp = xasprintf(".%s.%016llx", name, (unsigned long long)nonce);
	rc = write_new(dirfd, tmp, name, &text, err);
	(void)unlinkat(dirfd, tmp, 0);
	return rc < 0 ? -1 : sync_dir(dirfd, name, err);
}

static struct ssh_ca *
ca_new(const struct ssh_ed25519 *pair, const char *name)
{
	struct ssh_ca *ca = xnew(struct ssh_ca);

	ca->key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, pair->seed, 32);
	ca->ctx = EVP_MD_CTX_new();
	if (!ca->key || !ca->ctx)
		abort(); /* out of memory: the pair has just been through OpenSSL */
	ssh_ed25519_public(pair, name, &ca->pub);
	return ca;
}

int
ssh_ca_load_or_create(
    int dirfd, const char *name, struct ssh_ca **ret_ca, struct err *err)
{
	AUTO_ED25519 struct ssh_ed25519 pair = {0};
	int rc;

	assert(name[0] && !strchr(name, '/'));
	rc = load(dirfd, name, &pair, err);
	if (rc < 0 && err->code == ERR_NOT_FOUND) {
		rc = create(dirfd, name, err);
		if (rc == 0) /* what is on the disk is what counts */
			rc = load(dirfd, name, &pair, err);
	}
	if (rc < 0)
		return err_wrap(err, "CA key");
	*ret_ca = ca_new(&pair, name);
	return 0;
}

void
ssh_ca_free(struct ssh_ca *ca)
{
	if (!ca)
		return;
	EVP_MD_CTX_free(ca->ctx);
	EVP_PKEY_free(ca->key);
	ssh_pubkey_fini(&ca->pub);
	buf_fini(&ca->scratch);
	free(ca);
}

const struct ssh_pubkey *
ssh_ca_public(const struct ssh_ca *ca)
{
	return &ca->pub;
}

char *
ssh_ca_public_line(const struct ssh_ca *ca)
{
	return ssh_pubkey_line(&ca->pub);
}

char *
ssh_ca_known_hosts_line(const struct ssh_ca *ca, const char *pattern)
{
	AUTO_FREE char *line = ssh_pubkey_line(&ca->pub);

	assert(pattern[0] && !strpbrk(pattern, " \t\r\n"));
	return xasprintf("@cert-authority %s %s", pattern, line);
}

static void
put_options(struct buf *b, const struct ssh_cert_spec *spec)
{
	size_t critical = wire_open(b), extensions, value;

	if (spec->force_command) {
		wire_put_cstr(b, "force-command");
		value = wire_open(b);
		wire_put_cstr(b, spec->force_command);
		wire_close(b, value);
	}
	wire_close(b, critical);
	extensions = wire_open(b);
	for (unsigned i = 0; i < SSH_PERMITS; i++)
		if (spec->permit & 1u << i) {
			wire_put_cstr(b, ssh_permit_names[i]);
			wire_put_cstr(b, "");
		}
	wire_close(b, extensions);
}

/* All that is signed (PROTOCOL.certkeys). The certified key's own fields are those of its
 * blob. */
static void
put_body(struct buf *b, const struct ssh_ca *ca, const struct ssh_key_type *t,
    const struct ssh_pubkey *key, const struct ssh_cert_spec *spec,
    const uint8_t nonce[32])
{
	size_t skip = 4 + strlen(t->name), principals;

	wire_put_cstr(b, t->cert_name);
	wire_put_str(b, nonce, 32);
	buf_add(b, key->blob + skip, key->blob_len - skip);
	buf_u64be(b, spec->serial);
	buf_u32be(b, spec->kind);
	wire_put_cstr(b, spec->key_id);
	principals = wire_open(b);
	for (size_t i = 0; i < spec->principals_n; i++)
		wire_put_cstr(b, spec->principals[i]);
	wire_close(b, principals);
	buf_u64be(b, spec->valid_after);
	buf_u64be(b, spec->valid_before);
	put_options(b, spec);
	wire_put_cstr(b, ""); /* reserved */
	wire_put_str(b, ca->pub.blob, ca->pub.blob_len);
}

static int
put_signature(struct ssh_ca *ca, struct err *err)
{
	struct buf *b = &ca->scratch;
	uint8_t sig[64];
	size_t n = sizeof(sig), mark;

	/* The context is initialised anew for each: signing twice with one is not
	 * promised. */
	if (EVP_MD_CTX_reset(ca->ctx) != 1 ||
	    EVP_DigestSignInit(ca->ctx, NULL, NULL, NULL, ca->key) != 1 ||
	    EVP_DigestSign(ca->ctx, sig, &n, (const uint8_t *)b->data, b->len) != 1 ||
	    n != sizeof(sig))
		return err_set(err, ERR_INTERNAL, "sign a certificate: OpenSSL failed");
	mark = wire_open(b);
	wire_put_cstr(b, ca->pub.type);
	wire_put_str(b, sig, sizeof(sig));
	wire_close(b, mark);
	return 0;
}

static char *
text_line(const struct ssh_key_type *t, const struct buf *b, const char *comment)
{
	size_t n = strlen(t->cert_name) + 1 + (b->len + 2) / 3 * 4 + 1 + strlen(comment);
	struct buf line = {.data = xmalloc(n + 1), .cap = n + 1};

	buf_str(&line, t->cert_name);
	buf_char(&line, ' ');
	wire_base64_encode(b->data, b->len, true, &line);
	if (comment[0]) {
		buf_char(&line, ' ');
		buf_str(&line, comment);
	}
	return buf_take(&line);
}

int
ssh_ca_sign(struct ssh_ca *ca, const struct ssh_pubkey *key,
    const struct ssh_cert_spec *spec, char **ret_line, struct err *err)
{
	const struct ssh_key_type *t = ssh_key_type_named(
	    (struct wire_str){(const uint8_t *)key->type, strlen(key->type)});
	uint8_t nonce[32];

	assert(t && spec->serial != 0 && spec->principals_n > 0);
	assert(spec->principals_n <= SSH_CERT_PRINCIPALS_MAX);
	assert(spec->kind == SSH_CERT_USER || (!spec->permit && !spec->force_command));
	if (spec->valid_before <= spec->valid_after)
		return err_set(err, ERR_INVALID,
		    "sign a certificate: it would end at %llu, before "
		    "it begins at %llu",
		    (unsigned long long)spec->valid_before,
		    (unsigned long long)spec->valid_after);
	if (getrandom(nonce, sizeof(nonce), 0) != (ssize_t)sizeof(nonce))
		return err_errno(err, errno, "sign a certificate: getrandom");
	buf_reset(&ca->scratch);
	put_body(&ca->scratch, ca, t, key, spec, nonce);
	if (put_signature(ca, err) < 0)
		return -1;
	*ret_line = text_line(t, &ca->scratch, key->comment);
	return 0;
}
