/* SPDX-License-Identifier: Apache-2.0 */
#include "ssh/hostkey.h"

#include "ssh/ed25519.h"
#include "ssh/wire.h"

int
ssh_hostkey_generate(const char *comment, struct ssh_hostkey *ret_key, struct err *err)
{
	AUTO_ED25519 struct ssh_ed25519 pair = {0};
	AUTO_WIPE struct buf text = wire_secret(SSH_ED25519_TEXT_MAX);

	if (ssh_ed25519_generate(&pair, err) < 0 ||
	    ssh_ed25519_to_text(&pair, comment, &text, err) < 0)
		return err_wrap(err, "make a host key");
	ssh_ed25519_public(&pair, comment, &ret_key->pub);
	ret_key->text = text;
	text = (struct buf){0};
	return 0;
}

void
ssh_hostkey_fini(struct ssh_hostkey *key)
{
	wire_wipe(&key->text);
	ssh_pubkey_fini(&key->pub);
}
