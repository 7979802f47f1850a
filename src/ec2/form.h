/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_FORM_H
#define EC2_FORM_H

/* application/x-www-form-urlencoded: what the Query API's parameters come as. Everything is bounded by request.h. */

#include <stddef.h>

struct param;

/* Splits and decodes `text` of n bytes in place (it ends with a NUL behind them). Returns an owned array, in the order given, whose
   strings point into text; never NULL for an empty text. NULL: *ret_wrong says what is wrong, in words for the caller. */
struct param *form_split(char *text, size_t n, int *ret_n, const char **ret_wrong);

#endif
