/* SPDX-License-Identifier: Apache-2.0 */
/* The input as a certificate's line, and as the binary inside one: the fuzzer would not
   find its way through base64. */
#include <assert.h>
#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "ssh/cert.h"
#include "ssh/wire.h"

static void
parse(const char *s, size_t n)
{
	AUTO_CERT struct ssh_cert cert = {0};
	AUTO_FREE char *line = NULL;
	struct err err = {0};

	if (ssh_cert_parse(s, n, &cert, &err) < 0) {
		assert(err.code == ERR_INVALID && err.msg[0] && !cert.blob);
		return;
	}
	assert(cert.signed_len < cert.blob_len && cert.key_id && cert.key.blob &&
	       cert.ca.blob);
	assert(cert.principals_n <= SSH_CERT_PRINCIPALS_MAX &&
	       cert.permit <= SSH_PERMIT_ALL);
	for (size_t i = 0; i < cert.principals_n; i++)
		assert(cert.principals[i]);
	line = ssh_pubkey_line(&cert.key);
	(void)!ssh_cert_verify(&cert, &cert.ca, &err);
	assert(ssh_cert_verify(&cert, &cert.key, &err) < 0 ||
	       ssh_pubkey_equal(&cert.key, &cert.ca));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	AUTO_BUF struct buf line = BUF_INIT(0);
	struct wire_reader r = wire_reader(data, n);
	struct wire_str type = wire_get_str(&r);

	parse((const char *)data, n);
	buf_add(&line, type.p, type.n);
	buf_char(&line, ' ');
	wire_base64_encode(data, n, true, &line);
	parse(line.data, line.len);
	return 0;
}
