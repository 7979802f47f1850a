/* SPDX-License-Identifier: Apache-2.0 */
/* The input as a reply: what is taken is a tree whose links agree and whose text is found by its path. */
#include <assert.h>
#include <string.h>

#include "aws/xml.h"
#include "fuzz.h"

static size_t
check(const struct xml *x, const struct xml *parent, size_t depth)
{
	size_t n = 1;

	assert(x->parent == parent && depth <= XML_DEPTH_MAX);
	assert(
	    x->name[0] && !strchr(x->name, ':') == (x->name[strlen(x->name) - 1] != ':'));
	assert(x->text && (!x->child || !x->text[0]));
	if (parent)
		assert(xml_child(parent, x->name));
	for (const struct xml *c = x->child; c; c = c->next)
		n += check(c, x, depth + 1);
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct xml *root;
	struct err err;

	if (xml_parse((const char *)data, n, &root, &err) < 0) {
		assert(err.code == ERR_INVALID || err.code == ERR_TOO_LARGE);
		return 0;
	}
	assert(!memmem(data, n, "<!DOCTYPE", 9) || memmem(data, n, "<!--", 4) ||
	       memmem(data, n, "<![CDATA[", 9) || memmem(data, n, "<?", 2));
	assert(check(root, NULL, 1) <= XML_ELEMENTS_MAX);
	(void)xml_int(root, "a/b", 0);
	(void)xml_text(root, "Errors/Error/Code");
	xml_free(root);
	return 0;
}
