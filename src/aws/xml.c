/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/xml.h"

#include <assert.h>
#include <expat.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/xalloc.h"

#define CHUNK_BYTES (64u << 10)
#define NAMES_MAX 1024

struct chunk {
	struct chunk *next;
	size_t used, size;
	max_align_t data[];
};

/* The root comes first: xml_free() has only that. */
struct document {
	struct xml root;
	struct chunk *chunks;
};

struct parser {
	XML_Parser expat;
	struct document *doc;
	struct xml *open; /* the element we are in */
	struct xml *last; /* its last child so far */
	struct map names; /* each name is kept once */
	struct buf text;  /* since the last tag */
	size_t depth, elements;
	enum err_code refused; /* ERR_NONE: nothing yet */
	const char *why;
};

static void *
take(struct document *doc, size_t n)
{
	struct chunk *c = doc->chunks;
	void *p;

	n = (n + 7) & ~(size_t)7;
	if (!c || c->size - c->used < n) {
		size_t size = n > CHUNK_BYTES ? n : CHUNK_BYTES;

		c = xmalloc(sizeof(*c) + size);
		c->next = doc->chunks;
		c->used = 0;
		c->size = size;
		doc->chunks = c;
	}
	p = (char *)c->data + c->used;
	c->used += n;
	return p;
}

static char *
take_text(struct document *doc, const char *s, size_t n)
{
	char *p = take(doc, n + 1);

	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

static void
refuse(struct parser *p, enum err_code code, const char *why)
{
	p->refused = code;
	p->why = why;
	XML_StopParser(p->expat, XML_FALSE);
}

static const char *
name_of(struct parser *p, const char *name)
{
	const char *colon = strrchr(name, ':');
	char *known;

	name = colon && colon[1] ? colon + 1 : name;
	known = map_get(&p->names, name);
	if (!known) {
		known = take_text(p->doc, name, strlen(name));
		if (p->names.count <
		    NAMES_MAX) /* a hostile one could make them collide */
			map_put(&p->names, known, known);
	}
	return known;
}

static struct xml *
element_new(struct parser *p)
{
	struct xml *x = take(p->doc, sizeof(*x));

	*x = (struct xml){.parent = p->open};
	if (p->last)
		p->last->next = x;
	else
		p->open->child = x;
	return x;
}

static void
on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct parser *p = arg;
	struct xml *x;

	if (p->refused)
		return;
	if (++p->depth > XML_DEPTH_MAX) {
		refuse(p, ERR_TOO_LARGE, "too deep");
		return;
	}
	if (++p->elements > XML_ELEMENTS_MAX) {
		refuse(p, ERR_TOO_LARGE, "too many elements");
		return;
	}
	x = p->open ? element_new(p) : &p->doc->root;
	x->name = name_of(p, name);
	x->text = "";
	p->open = x;
	p->last = NULL;
	buf_reset(&p->text);
}

static void
on_end(void *arg, const XML_Char *name)
{
	struct parser *p = arg;

	if (p->refused)
		return;
	if (!p->open->child && p->text.len)
		p->open->text = take_text(p->doc, p->text.data, p->text.len);
	buf_reset(&p->text);
	p->last = p->open;
	p->open = p->open->parent;
	p->depth--;
}

static void
on_text(void *arg, const XML_Char *s, int n)
{
	struct parser *p = arg;

	buf_add(&p->text, s, (size_t)n);
}

/* Nothing AWS sends has one, and entities come with it. */
static void
on_doctype(void *arg, const XML_Char *name, const XML_Char *sysid, const XML_Char *pubid,
    int has_internal_subset)
{
	refuse(arg, ERR_INVALID, "it has a DOCTYPE");
}

static int
run(struct parser *p, const char *data, size_t n, struct err *err)
{
	enum XML_Status status;

	XML_SetUserData(p->expat, p);
	XML_SetElementHandler(p->expat, on_start, on_end);
	XML_SetCharacterDataHandler(p->expat, on_text);
	XML_SetStartDoctypeDeclHandler(p->expat, on_doctype);
	status = XML_Parse(p->expat, data, (int)n, XML_TRUE);
	if (p->refused)
		return err_set(err, p->refused, "XML: %s, line %lu", p->why,
		    (unsigned long)XML_GetCurrentLineNumber(p->expat));
	if (status != XML_STATUS_OK)
		return err_set(err, ERR_INVALID, "XML: %s, line %lu",
		    XML_ErrorString(XML_GetErrorCode(p->expat)),
		    (unsigned long)XML_GetCurrentLineNumber(p->expat));
	return 0;
}

int
xml_parse(const char *data, size_t n, struct xml **ret, struct err *err)
{
	struct parser p = {.text = BUF_INIT(XML_BYTES_MAX)};
	int rc;

	if (n > XML_BYTES_MAX)
		return err_set(err, ERR_TOO_LARGE, "XML: over %u bytes", XML_BYTES_MAX);
	p.doc = xnew(struct document);
	p.expat = XML_ParserCreate(NULL);
	if (!p.expat)
		abort();
	rc = run(&p, data, n, err);
	XML_ParserFree(p.expat);
	map_fini(&p.names);
	if (p.text.data)
		explicit_bzero(p.text.data, p.text.cap);
	buf_fini(&p.text);
	if (rc < 0) {
		xml_free(&p.doc->root);
		return -1;
	}
	*ret = &p.doc->root;
	return 0;
}

void
xml_free(struct xml *root)
{
	struct document *doc = (struct document *)root;
	struct chunk *c, *next;

	if (!root)
		return;
	assert(!root->parent);
	for (c = doc->chunks; c; c = next) {
		next = c->next;
		explicit_bzero(c->data, c->used); /* STS sends keys */
		free(c);
	}
	free(doc);
}

static const struct xml *
child(const struct xml *x, const char *name, size_t n)
{
	const struct xml *c = x ? x->child : NULL;

	while (c && (strncmp(c->name, name, n) != 0 || c->name[n]))
		c = c->next;
	return c;
}

const struct xml *
xml_child(const struct xml *x, const char *name)
{
	return child(x, name, strlen(name));
}

const struct xml *
xml_find(const struct xml *x, const char *path)
{
	for (;;) {
		size_t n = strcspn(path, "/");

		x = child(x, path, n);
		if (!x || !path[n])
			return x;
		path += n + 1;
	}
}

const char *
xml_text(const struct xml *x, const char *path)
{
	x = xml_find(x, path);
	return x ? x->text : "";
}

int64_t
xml_int(const struct xml *x, const char *path, int64_t otherwise)
{
	const char *text = xml_text(x, path);
	int64_t v = 0;
	size_t digits = strspn(text + (*text == '-'), "0123456789");

	if (digits == 0 || digits > 18 || text[(*text == '-') + digits])
		return otherwise;
	for (const char *p = text + (*text == '-'); *p; p++)
		v = v * 10 + (*p - '0');
	return *text == '-' ? -v : v;
}
