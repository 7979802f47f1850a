/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_TOKEN_H
#define AWS_TOKEN_H

/* Client tokens that are derived, not remembered: whoever knows what a call was for can make its token again. */

#include <stddef.h>

#define AWS_TOKEN_MAX 65 /* with the NUL: EC2 takes 64 ASCII characters */

/* The SHA-256 of the bytes, in hexadecimal. */
void aws_token_of(const void *data, size_t n, char out[AWS_TOKEN_MAX]);

#endif
