/* SPDX-License-Identifier: Apache-2.0 */
#include "yaml/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

struct reader {
	yaml_parser_t parser;
	const char *name; /* borrowed */
	int nodes;
	struct err *err; /* borrowed */
};

const char *
tree_kind_name(enum tree_kind k)
{
	return k == TREE_MAP ? "mapping" : k == TREE_LIST ? "list" : "value";
}

int
tree_err(struct err *err, const char *name, int line, int column, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	for (char *p = msg; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return err_set(err, ERR_INVALID, "%s:%d:%d: %s", name, line, column, msg);
}

static int
fail_at(struct reader *r, const yaml_mark_t *at, const char *what)
{
	return tree_err(
	    r->err, r->name, (int)at->line + 1, (int)at->column + 1, "%s", what);
}

static int
fail_syntax(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;

	if (p->error == YAML_READER_ERROR)
		return err_set(r->err, ERR_INVALID,
		    "%s: byte %zu: %s: expected UTF-8 text", r->name, p->problem_offset,
		    p->problem ?: "cannot be read");
	return tree_err(r->err, r->name, (int)p->problem_mark.line + 1,
	    (int)p->problem_mark.column + 1, "not YAML: %s%s%s",
	    p->problem ?: "cannot be parsed", p->context ? " " : "", p->context ?: "");
}

static int
next_event(struct reader *r, yaml_event_t *ev)
{
	if (!yaml_parser_parse(&r->parser, ev))
		return fail_syntax(r);
	return 0;
}

static struct tree *
node_new(enum tree_kind kind, const yaml_mark_t *at)
{
	struct tree *t = xnew(struct tree);

	t->kind = kind;
	t->line = (int)at->line + 1;
	t->column = (int)at->column + 1;
	return t;
}

void
tree_free(struct tree *t)
{
	while (t) {
		struct tree *next = t->next;

		tree_free(t->first);
		free(t->key);
		free(t->text);
		free(t);
		t = next;
	}
}

static void
cleanup_tree(struct tree **t)
{
	tree_free(*t);
}
#define AUTO_TREE __attribute__((cleanup(cleanup_tree)))

static int
check_scalar(struct reader *r, const yaml_event_t *ev, size_t max)
{
	const char *text = (const char *)ev->data.scalar.value;
	size_t n = ev->data.scalar.length;

	if (ev->data.scalar.anchor)
		return fail_at(r, &ev->start_mark,
		    "anchors are not supported: expected plain values");
	if (ev->data.scalar.tag)
		return fail_at(
		    r, &ev->start_mark, "tags are not supported: expected plain values");
	if (n > max)
		return fail_at(r, &ev->start_mark, "too long");
	if (memchr(text, '\0', n))
		return fail_at(
		    r, &ev->start_mark, "holds a NUL character: expected text");
	return 0;
}

static int read_node(
    struct reader *r, const yaml_event_t *ev, int depth, struct tree **ret);

static int
read_key(struct reader *r, const yaml_event_t *ev, const struct tree *map, char **ret_key)
{
	const char *key = (const char *)ev->data.scalar.value;

	if (ev->type != YAML_SCALAR_EVENT)
		return fail_at(r, &ev->start_mark, "expected a name as the key");
	if (check_scalar(r, ev, TREE_KEY_MAX) < 0)
		return -1;
	for (const struct tree *t = map->first; t; t = t->next)
		if (strcmp(t->key, key) == 0)
			return tree_err(r->err, r->name, (int)ev->start_mark.line + 1,
			    (int)ev->start_mark.column + 1,
			    "%s: given twice, first in line %d", key, t->key_line);
	*ret_key = xstrdup(key);
	return 0;
}

/* One child of `t`, whose first event is `ev`. */
static int
read_child(
    struct reader *r, yaml_event_t *ev, struct tree *t, int depth, struct tree **ret)
{
	AUTO_FREE char *key = NULL;
	yaml_mark_t key_mark = ev->start_mark;
	yaml_event_t value;
	int rc;

	if (t->n == TREE_CHILDREN_MAX)
		return fail_at(r, &ev->start_mark, "too many entries");
	if (t->kind == TREE_LIST)
		return read_node(r, ev, depth, ret);
	if (read_key(r, ev, t, &key) < 0 || next_event(r, &value) < 0)
		return -1;
	rc = read_node(r, &value, depth, ret);
	yaml_event_delete(&value);
	if (rc == 0) {
		(*ret)->key = TAKE(key);
		(*ret)->key_line = (int)key_mark.line + 1;
		(*ret)->key_column = (int)key_mark.column + 1;
	}
	return rc;
}

static int
read_children(struct reader *r, struct tree *t, int depth)
{
	yaml_event_type_t end =
	    t->kind == TREE_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
	struct tree **last = &t->first;

	for (;;) {
		yaml_event_t ev;
		struct tree *child = NULL;
		int rc;

		if (next_event(r, &ev) < 0)
			return -1;
		if (ev.type == end) {
			yaml_event_delete(&ev);
			return 0;
		}
		rc = read_child(r, &ev, t, depth, &child);
		yaml_event_delete(&ev);
		if (rc < 0)
			return -1;
		*last = child;
		last = &child->next;
		t->n++;
	}
}

static int
read_collection(struct reader *r, const yaml_event_t *ev, enum tree_kind kind,
    bool anchor, bool tag, int depth, struct tree **ret)
{
	AUTO_TREE struct tree *t = NULL;

	if (anchor)
		return fail_at(r, &ev->start_mark,
		    "anchors are not supported: expected plain values");
	if (tag)
		return fail_at(
		    r, &ev->start_mark, "tags are not supported: expected plain values");
	if (depth == TREE_DEPTH_MAX)
		return fail_at(r, &ev->start_mark, "nested too deeply");
	t = node_new(kind, &ev->start_mark);
	if (read_children(r, t, depth + 1) < 0)
		return -1;
	*ret = TAKE(t);
	return 0;
}

static int
read_node(struct reader *r, const yaml_event_t *ev, int depth, struct tree **ret)
{
	if (r->nodes++ == TREE_NODES_MAX)
		return fail_at(r, &ev->start_mark, "too many values in one file");
	switch (ev->type) {
	case YAML_SCALAR_EVENT:
		if (check_scalar(r, ev, TREE_SCALAR_MAX) < 0)
			return -1;
		*ret = node_new(TREE_SCALAR, &ev->start_mark);
		(*ret)->text = xstrdup((const char *)ev->data.scalar.value);
		(*ret)->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		return 0;
	case YAML_MAPPING_START_EVENT:
		return read_collection(r, ev, TREE_MAP,
		    ev->data.mapping_start.anchor != NULL,
		    ev->data.mapping_start.tag != NULL, depth, ret);
	case YAML_SEQUENCE_START_EVENT:
		return read_collection(r, ev, TREE_LIST,
		    ev->data.sequence_start.anchor != NULL,
		    ev->data.sequence_start.tag != NULL, depth, ret);
	case YAML_ALIAS_EVENT:
		return fail_at(r, &ev->start_mark,
		    "aliases are not supported: expected plain values");
	default:
		return fail_at(r, &ev->start_mark, "expected a value");
	}
}

/* Passes over the events up to one that is neither the stream's nor a document's begin;
   its type is checked by the caller. */
static int
first_event(struct reader *r, yaml_event_t *ev)
{
	for (;;) {
		if (next_event(r, ev) < 0)
			return -1;
		if (ev->type != YAML_STREAM_START_EVENT &&
		    ev->type != YAML_DOCUMENT_START_EVENT)
			return 0;
		yaml_event_delete(ev);
	}
}

static int
read_document(struct reader *r, struct tree **ret)
{
	AUTO_TREE struct tree *t = NULL;
	yaml_event_t ev;
	int rc;

	if (first_event(r, &ev) < 0)
		return -1;
	if (ev.type == YAML_MAPPING_START_EVENT)
		rc = read_node(r, &ev, 0, &t);
	else
		rc = fail_at(r, &ev.start_mark,
		    "expected a mapping of settings, as in 'state: /var/lib/hearth'");
	yaml_event_delete(&ev);
	if (rc < 0 || next_event(r, &ev) < 0) /* the document's end */
		return -1;
	yaml_event_delete(&ev);
	if (next_event(r, &ev) < 0)
		return -1;
	if (ev.type != YAML_STREAM_END_EVENT)
		rc = fail_at(r, &ev.start_mark, "expected one document only");
	yaml_event_delete(&ev);
	if (rc == 0)
		*ret = TAKE(t);
	return rc;
}

int
tree_parse(
    const char *name, const char *text, size_t n, struct tree **ret, struct err *err)
{
	struct reader r = {.name = name, .err = err};
	int rc;

	if (n > TREE_TEXT_MAX)
		return err_set(err, ERR_INVALID,
		    "%s: larger than 1 MiB: expected a configuration file", name);
	if (!yaml_parser_initialize(&r.parser))
		abort(); /* out of memory */
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	rc = read_document(&r, ret);
	yaml_parser_delete(&r.parser);
	return rc;
}
