/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/token.h"

#include <openssl/sha.h>
#include <stdint.h>

void
aws_token_of(const void *data, size_t n, char out[AWS_TOKEN_MAX])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t sum[SHA256_DIGEST_LENGTH];

	SHA256(data, n, sum);
	for (size_t i = 0; i < sizeof(sum); i++) {
		out[2 * i] = digits[sum[i] >> 4];
		out[2 * i + 1] = digits[sum[i] & 15];
	}
	out[2 * sizeof(sum)] = '\0';
}
