/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte says in what pieces the rest arrives: that must make no difference. */
#include <assert.h>
#include <string.h>

#include "fuzz.h"
#include "ssh/banner.h"

static void
feed(struct ssh_banner *b, const uint8_t *data, size_t n, size_t step)
{
	struct err err;

	for (size_t i = 0; i < n; i += step)
		if (ssh_banner_feed(b, data + i, n - i < step ? n - i : step, &err) < 0) {
			assert(
			    b->state == SSH_BANNER_FAILED && err.code == ERR_UNAVAILABLE);
			return;
		}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct ssh_banner whole = {0}, pieces = {0};

	if (n == 0)
		return 0;
	feed(&whole, data + 1, n - 1, n);
	feed(&pieces, data + 1, n - 1, data[0] + 1u);
	assert(whole.state == pieces.state && whole.len == pieces.len);
	if (whole.state == SSH_BANNER_DONE) {
		assert(strcmp(whole.line, pieces.line) == 0 &&
		       strlen(whole.line) < SSH_BANNER_LINE_MAX);
		assert(strncmp(whole.line, "SSH-", 4) == 0);
	}
	return 0;
}
