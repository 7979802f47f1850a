/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_XALLOC_H
#define BASE_XALLOC_H

/* Allocation that aborts when memory runs out: the state is in the store, and a restart reconciles.
   Not for sizes that an outsider controls; those go through a bounded buf. */

#include <stddef.h>

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...)
    __attribute__((malloc, returns_nonnull, format(printf, 1, 2)));

#define xnew(type) ((type *)xcalloc(1, sizeof(type)))

/* xstrdup for what may be NULL. */
char *xstrdup_null(const char *s);

/* Replaces the owned string *p by a copy of s (which may be NULL). */
void xstrset(char **p, const char *s);

#endif
