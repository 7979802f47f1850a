/* SPDX-License-Identifier: Apache-2.0 */
/* The input as a user's key line, and as a binary key. What is accepted must come back
   unchanged through its own line. */
#include <assert.h>
#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "ssh/pubkey.h"

static void
check(const struct ssh_pubkey *key)
{
	AUTO_PUBKEY struct ssh_pubkey again = {0};
	AUTO_FREE char *line = ssh_pubkey_line(key);
	AUTO_FREE char *print = ssh_pubkey_fingerprint(key);
	struct err err;

	assert(strlen(print) == strlen("SHA256:") + 43);
	for (const char *p = line; *p; p++)
		assert((unsigned char)*p >= ' ' && *p != 0x7f);
	if (strlen(line) > SSH_PUBKEY_TEXT_MAX)
		return; /* only a binary key can be as long */
	if (ssh_pubkey_parse(line, strlen(line), &again, &err) < 0)
		assert(!"our own line is refused");
	assert(ssh_pubkey_equal(key, &again) && strcmp(key->comment, again.comment) == 0);
	assert(key->type == again.type);
}

static void
check_refusal(const struct err *err)
{
	assert(err->code == ERR_INVALID && err->msg[0]);
	for (const char *p = err->msg; *p; p++)
		assert((unsigned char)*p >= ' ' && *p != 0x7f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	AUTO_PUBKEY struct ssh_pubkey text = {0}, blob = {0};
	struct err err;

	if (ssh_pubkey_parse((const char *)data, n, &text, &err) == 0)
		check(&text);
	else
		check_refusal(&err);
	if (ssh_pubkey_from_blob(data, n, "c", &blob, &err) == 0)
		check(&blob);
	else
		check_refusal(&err);
	return 0;
}
