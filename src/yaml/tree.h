/* SPDX-License-Identifier: Apache-2.0 */
#ifndef YAML_TREE_H
#define YAML_TREE_H

/* One YAML document as a tree that remembers where each thing stands, so that whoever
   finds a value wrong can say file, line and column. It takes the part of YAML that a
   configuration needs: anchors, aliases, tags, second documents and duplicate keys are
   refused, and depth and counts are bounded, so a file cannot cost more than its own
   size. */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define TREE_TEXT_MAX (1024 * 1024) /* bytes of a document */
#define TREE_DEPTH_MAX 8
#define TREE_CHILDREN_MAX 1000 /* of one mapping or list */
#define TREE_NODES_MAX 20000
#define TREE_KEY_MAX 128
#define TREE_SCALAR_MAX 16384

enum tree_kind { TREE_SCALAR, TREE_MAP, TREE_LIST };

struct tree {
	enum tree_kind kind;
	int line, column;	  /* from 1 */
	int key_line, key_column; /* where `key` stands */
	char *key;		  /* owned; NULL unless the parent is a mapping */
	char *text;		  /* owned; scalars only; holds no NUL */
	bool plain;		  /* a scalar without quotes */
	struct tree *first;	  /* owned; mappings and lists */
	struct tree *next;	  /* owned by the parent */
	int n;			  /* children */
};

/* Reads `n` bytes of `text`. Messages read "NAME:LINE:COLUMN: ...", ERR_INVALID. The
 * result is a mapping. */
int tree_parse(const char *name, const char *text, size_t n, struct tree **ret,
    struct err *err) ERR_CHECK;
void tree_free(struct tree *t);

/* "mapping", "list" or "value". */
const char *tree_kind_name(enum tree_kind k);

/* ERR_INVALID "NAME:LINE:COLUMN: message", with characters that do not print replaced. */
int tree_err(struct err *err, const char *name, int line, int column, const char *fmt,
    ...) __attribute__((format(printf, 5, 6)));

#endif
