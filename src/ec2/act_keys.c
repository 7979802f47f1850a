/* SPDX-License-Identifier: Apache-2.0 */
/* Key pairs: real ones, so that ssh -i works with what CreateKeyPair hands out. */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "base/xalloc.h"
#include "ec2/describe.h"
#include "ec2/dispatch.h"
#include "ec2/families.h"
#include "ec2/objects.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/tags.h"
#include "ec2/world.h"
#include "net/loop.h"
#include "ssh/hostkey.h"
#include "ssh/pubkey.h"
#include "ssh/wire.h"

#define KEY_NAME_MAX 255
#define MATERIAL_MAX 16384

static const char *const key_tags[] = {"key-pair", NULL};

/* ---- fingerprints: EC2 User Guide, "How the fingerprint is calculated" ---- */

static char *
colons(const unsigned char *md, size_t n)
{
	char *s = xmalloc(n * 3 + 1), *to = s;

	for (size_t i = 0; i < n; i++)
		to += snprintf(to, 4, i ? ":%02x" : "%02x", md[i]);
	return s;
}

/* Of an imported RSA key: MD5 of its SubjectPublicKeyInfo; of one made here: SHA-1 of its PKCS#8 DER. */
static char *
rsa_fingerprint(EVP_PKEY *key, bool imported)
{
	unsigned char md[EVP_MAX_MD_SIZE], *der = NULL;
	unsigned int n = 0;
	char *s = NULL;
	int len;

	if (imported) {
		len = i2d_PUBKEY(key, &der);
	} else {
		PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);

		len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
		PKCS8_PRIV_KEY_INFO_free(info);
	}
	if (len > 0 &&
	    EVP_Digest(der, (size_t)len, md, &n, imported ? EVP_md5() : EVP_sha1(), NULL))
		s = colons(md, n);
	OPENSSL_clear_free(der, len > 0 ? (size_t)len : 0);
	return s;
}

/* As ssh-keygen has it, but padded and without the name of the digest. */
static char *
ed25519_fingerprint(const struct ssh_pubkey *pub)
{
	struct buf b = BUF_INIT(0);
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	if (!EVP_Digest(pub->blob, pub->blob_len, md, &n, EVP_sha256(), NULL))
		return NULL;
	wire_base64_encode(md, n, true, &b);
	return buf_take(&b);
}

static char *
public_line(const struct ssh_pubkey *pub, const char *name)
{
	struct ssh_pubkey named = *pub;

	named.comment = (char *)name;
	return ssh_pubkey_line(&named);
}

/* ---- making ---- */

struct made {
	struct buf material; /* secret: wire_wipe() */
	char *public_key, *fingerprint;
};

static void
made_fini(struct made *m)
{
	wire_wipe(&m->material);
	free(m->public_key);
	free(m->fingerprint);
}

static int
make_ed25519(const char *name, struct made *m, struct err *err)
{
	struct ssh_hostkey key = {0};

	if (ssh_hostkey_generate("", &key, err) < 0)
		return -1;
	m->material = wire_secret(key.text.len + 1);
	buf_add(&m->material, key.text.data, key.text.len);
	m->public_key = public_line(&key.pub, name);
	m->fingerprint = ed25519_fingerprint(&key.pub);
	ssh_hostkey_fini(&key);
	return 0;
}

static void
put_mpint(struct buf *b, EVP_PKEY *key, const char *param)
{
	unsigned char bytes[MATERIAL_MAX / 8 + 1] = {0};
	BIGNUM *n = NULL;

	if (EVP_PKEY_get_bn_param(key, param, &n) &&
	    BN_num_bytes(n) < (int)sizeof(bytes)) {
		int len = BN_bn2bin(n, bytes + 1);
		int sign = bytes[1] & 0x80 ? 1 : 0;

		wire_put_str(b, bytes + 1 - sign, (size_t)(len + sign));
	}
	BN_free(n);
}

static int
rsa_public(EVP_PKEY *key, const char *name, char **ret, struct err *err)
{
	AUTO_BUF struct buf blob = BUF_INIT(MATERIAL_MAX);
	AUTO_PUBKEY struct ssh_pubkey pub = {0};

	wire_put_cstr(&blob, "ssh-rsa");
	put_mpint(&blob, key, OSSL_PKEY_PARAM_RSA_E);
	put_mpint(&blob, key, OSSL_PKEY_PARAM_RSA_N);
	if (ssh_pubkey_from_blob(blob.data, blob.len, name, &pub, err) < 0)
		return -1;
	*ret = ssh_pubkey_line(&pub);
	return 0;
}

/* PKCS#1, as AWS hands them out. */
static void
rsa_material(EVP_PKEY *key, struct buf *to)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *text = NULL;
	long n = 0;

	if (bio &&
	    PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL))
		n = BIO_get_mem_data(bio, &text);
	*to = wire_secret((size_t)n + 1);
	buf_add(to, text, (size_t)n);
	BIO_free_all(bio);
}

/* Takes a tenth of a second and more, so it is called in a thread: touches nothing but what it is given. */
static int
make_rsa(const char *name, struct made *m, struct err *err)
{
	EVP_PKEY *key = EVP_RSA_gen(2048);
	int rc;

	if (!key)
		return err_set(err, ERR_INTERNAL, "cannot make an RSA key");
	rsa_material(key, &m->material);
	m->fingerprint = rsa_fingerprint(key, false);
	rc = rsa_public(key, name, &m->public_key, err);
	EVP_PKEY_free(key);
	return rc;
}

/* ---- importing ---- */

/* RFC 4716: headers and base64 between two lines of dashes. Owned: the same as a .pub file's line; NULL: it is none. */
static char *
from_rfc4716(const char *text)
{
	static const char begin[] = "---- BEGIN SSH2 PUBLIC KEY ----";
	AUTO_BUF struct buf b64 = BUF_INIT(MATERIAL_MAX), blob = BUF_INIT(MATERIAL_MAX);
	AUTO_FREE char *copy = NULL;
	char *line, *rest;
	bool continued = false;

	if (strncmp(text, begin, sizeof(begin) - 1) != 0)
		return NULL;
	rest = copy = xstrdup(text + sizeof(begin) - 1);
	while ((line = strsep(&rest, "\r\n"))) {
		bool header = continued || strchr(line, ':');

		if (strncmp(line, "---- END", 8) == 0)
			break;
		continued = header && *line && line[strlen(line) - 1] == '\\';
		if (!header)
			buf_str(&b64, line);
	}
	struct wire_str coded = {(const uint8_t *)b64.data, b64.len};
	if (!wire_base64_decode(coded, &blob) || !blob.len)
		return NULL;
	struct wire_reader r = wire_reader(blob.data, blob.len);
	AUTO_FREE char *type = wire_str_dup(wire_get_str(&r));
	return type ? xasprintf("%s %s", type, b64.data) : NULL;
}

static EVP_PKEY *
rsa_from_blob(const struct ssh_pubkey *pub)
{
	struct wire_reader r = wire_reader(pub->blob, pub->blob_len);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;

	(void)wire_get_str(&r);
	struct wire_str e = wire_get_mpint(&r), n = wire_get_mpint(&r);
	BIGNUM *be = BN_bin2bn(e.p, (int)e.n, NULL), *bn = BN_bin2bn(n.p, (int)n.n, NULL);
	if (!r.bad && bld && ctx && be && bn &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) &&
	    (params = OSSL_PARAM_BLD_to_param(bld)) && EVP_PKEY_fromdata_init(ctx) > 0)
		(void)EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	EVP_PKEY_CTX_free(ctx);
	BN_free(be);
	BN_free(bn);
	return key;
}

static int
import_key(const struct ssh_pubkey *pub, const char *name, struct made *m)
{
	if (strcmp(pub->type, "ssh-ed25519") == 0) {
		m->fingerprint = ed25519_fingerprint(pub);
	} else if (strcmp(pub->type, "ssh-rsa") == 0) {
		EVP_PKEY *key = rsa_from_blob(pub);

		m->fingerprint = key ? rsa_fingerprint(key, true) : NULL;
		EVP_PKEY_free(key);
	}
	m->public_key = public_line(pub, name);
	return m->fingerprint ? 0 : -1;
}

/* ---- actions ---- */

static const char *
read_name(struct request *q)
{
	const char *name = request_need(q, "KeyName");

	if (strlen(name) > KEY_NAME_MAX)
		request_fail(q, "InvalidParameterValue",
		    "Value for parameter KeyName is invalid. Length exceeds maximum of "
		    "%d.",
		    KEY_NAME_MAX);
	if (*name && keypair_by_name(q->region, name))
		request_fail(q, "InvalidKeyPair.Duplicate", "The keypair already exists");
	return name;
}

static void
keep(struct request *q, const char *name, const char *type, struct made *m)
{
	struct keypair *k = object_new(q->region, &kind_keypair, NULL);

	k->name = xstrdup(name);
	k->type = xstrdup(type);
	k->fingerprint = TAKE(m->fingerprint);
	k->public_key = TAKE(m->public_key);
	request_tag(q, &k->o);
	object_changed(&k->o);
	reply_text(&q->reply, "keyName", k->name);
	reply_text(&q->reply, "keyFingerprint", k->fingerprint);
	if (m->material.len)
		reply_text(&q->reply, "keyMaterial", m->material.data);
	reply_text(&q->reply, "keyPairId", k->o.id);
	reply_tags(q, &k->o);
}

static void
answer_made(struct request *q, const char *name, const char *type, int rc, struct made *m)
{
	if (rc < 0 || !m->fingerprint || !m->material.len)
		request_fail(q, "InternalError", "The key could not be made");
	else if (keypair_by_name(q->region, name)) /* another call was faster */
		request_fail(q, "InvalidKeyPair.Duplicate", "The keypair already exists");
	else
		keep(q, name, type, m);
}

/* An RSA key that is being made in a thread of libuv's pool. */
struct making {
	struct list link; /* world.making */
	uv_work_t work;
	struct request *q; /* NULL: nobody waits any more */
	char *name;	   /* owned, as what is made */
	struct made made;
	struct err err;
	int rc;
};

static void
make_there(uv_work_t *work)
{
	struct making *k = work->data;

	k->rc = make_rsa(k->name, &k->made, &k->err);
}

static void
made_there(uv_work_t *work, int status)
{
	struct making *k = work->data;
	struct request *q = k->q;

	list_remove(&k->link);
	if (q) {
		uint64_t before = q->world->seq;

		answer_made(q, k->name, "rsa", status == 0 ? k->rc : -1, &k->made);
		dispatch_made(q, before);
		request_finish(q);
	}
	made_fini(&k->made);
	free(k->name);
	free(k);
}

static void
begin_rsa(struct request *q, const char *name)
{
	struct making *k = xnew(struct making);

	k->work.data = k;
	k->q = q;
	k->name = xstrdup(name);
	list_push_back(&q->world->making, &k->link);
	request_later(q);
	if (uv_queue_work(loop_uv(q->world->loop), &k->work, make_there, made_there) != 0)
		abort(); /* it fails for want of a function alone */
}

void
keypairs_forget(struct world *w)
{
	struct making *k, *tmp;

	list_for_each_safe (k, tmp, &w->making, link) {
		list_remove(&k->link);
		k->q = NULL;
		(void)uv_cancel((uv_req_t *)&k->work); /* if it has not begun */
	}
}

static void
create_key_pair(struct request *q)
{
	static const char *const types[] = {"rsa", "ed25519", NULL};
	static const char *const formats[] = {"pem", NULL};
	const char *name = read_name(q);
	const char *type = request_choice(q, types, "rsa", "KeyType");
	struct made m = {0};
	struct err err;
	int rc;

	(void)request_choice(q, formats, "pem", "KeyFormat");
	request_check_tags(q, key_tags);
	if (!request_ready(q))
		return;
	if (*type == 'r' && q->world->loop) {
		begin_rsa(q, name);
		return;
	}
	rc = *type == 'r' ? make_rsa(name, &m, &err) : make_ed25519(name, &m, &err);
	answer_made(q, name, type, rc, &m);
	made_fini(&m);
}

static void
import_key_pair(struct request *q)
{
	AUTO_PUBKEY struct ssh_pubkey pub = {0};
	AUTO_FREE char *material = NULL, *line = NULL;
	const char *name = read_name(q);
	struct made m = {0};
	struct err err;
	size_t n = 0;

	material = request_base64(q, MATERIAL_MAX, &n, "PublicKeyMaterial");
	if (!material)
		(void)request_need(q, "PublicKeyMaterial");
	line = material ? from_rfc4716(material) : NULL;
	if (material && (ssh_pubkey_parse(
			     line ?: material, line ? strlen(line) : n, &pub, &err) < 0 ||
			    import_key(&pub, name, &m) < 0))
		request_fail(q, "InvalidKey.Format",
		    "Key is not in valid OpenSSH public key format");
	request_check_tags(q, key_tags);
	if (pub.type && request_ready(q))
		keep(q, name, strcmp(pub.type, "ssh-rsa") == 0 ? "rsa" : "ed25519", &m);
	made_fini(&m);
}

static void
delete_key_pair(struct request *q)
{
	const char *name = request_text(q, "KeyName"), *id = request_text(q, "KeyPairId");
	struct keypair *k = NULL;

	if (!name && !id)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter keyName or keyPairId");
	if (id)
		k = region_find(q->region, &kind_keypair, id);
	else if (name)
		k = keypair_by_name(q->region, name);
	if (id && !k)
		request_fail(q, "InvalidKeyPair.NotFound",
		    "The key pair ID '%.64s' does not exist", id);
	if (!request_ready(q))
		return;
	if (k)
		object_remove(&k->o);
	reply_true(&q->reply);
}

/* ---- DescribeKeyPairs ---- */

#define KEYPAIR(o) ((const struct keypair *)(o))

OFFER(by_id, KEYPAIR(o)->o.id)
OFFER(by_fingerprint, KEYPAIR(o)->fingerprint)
OFFER(by_name, KEYPAIR(o)->name)

static const struct filter key_filters[] = {
    {"fingerprint", by_fingerprint},
    {"key-name", by_name},
    {"key-pair-id", by_id},
    {NULL},
};

static void
write_key(struct request *q, const struct object *o)
{
	const struct keypair *k = KEYPAIR(o);

	reply_text(&q->reply, "keyPairId", k->o.id);
	reply_text(&q->reply, "keyFingerprint", k->fingerprint);
	reply_text(&q->reply, "keyName", k->name);
	reply_text(&q->reply, "keyType", k->type);
	reply_tags(q, o);
	if (request_bool(q, false, "IncludePublicKey"))
		reply_text(&q->reply, "publicKey", k->public_key);
	reply_time(&q->reply, "createTime", k->o.created_at);
}

static bool
key_is_asked_for(struct request *q, const struct object *o)
{
	return resource_named(q, "KeyName", KEYPAIR(o)->name);
}

static void
describe_key_pairs(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_keypair,
	    .ids = "KeyPairId",
	    .filters = key_filters,
	    .set = "keySet",
	    .write = write_key,
	    .shown = key_is_asked_for,
	};
	int n = request_count(q, "KeyName");

	(void)request_bool(q, false, "IncludePublicKey");
	for (int i = 1; i <= n; i++) {
		const char *name = request_need(q, "KeyName.%d", i);

		if (!request_failed(q) && !keypair_by_name(q->region, name))
			request_fail(q, "InvalidKeyPair.NotFound",
			    "The key pair '%.255s' does not exist", name);
	}
	describe(q, &d);
}

const struct action key_actions[] = {
    {"CreateKeyPair", create_key_pair},
    {"DeleteKeyPair", delete_key_pair},
    {"DescribeKeyPairs", describe_key_pairs, ACTION_READ},
    {"ImportKeyPair", import_key_pair},
    {NULL},
};
