/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever the file holds, it is read whole or refused with one line that names it. */
#include <assert.h>
#include <string.h>

#include "daemon/config.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct config *c = NULL;
	struct err err = {0};

	if (config_parse("f.yaml", (const char *)data, n, &c, &err) < 0) {
		assert(c == NULL && err.code == ERR_INVALID);
		assert(strncmp(err.msg, "f.yaml:", 7) == 0 && !strchr(err.msg, '\n'));
		return 0;
	}
	assert(c->state[0] == '/' && c->socket[0] == '/' && c->runtime[0] == '/');
	for (int i = 0; i < c->n_pools; i++)
		assert(c->pools[i].running <= c->pools[i].max &&
		       c->pools[i].n_setup <= POOL_SETUP_MAX);
	assert(config_check_reload(c, c, &err) == 0);
	config_free(c);
	return 0;
}
