/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: what EC2 sends is found by its path, and what an attacker sends is refused before it costs much: depth, number,
 * size, entities.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "aws/xml.h"
#include "base/buf.h"

static struct xml *root;

static enum err_code
parse(const char *s, size_t n)
{
	struct err err;

	xml_free(root);
	root = NULL;
	if (xml_parse(s, n, &root, &err) == 0)
		return ERR_NONE;
	assert_null(root);
	assert_true(strlen(err.msg) > 5);
	return err.code;
}

static int
teardown(void **state)
{
	xml_free(root);
	root = NULL;
	return 0;
}

static void
test_find(void **state)
{
	static const char text[] =
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	    "<D xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\" xmlns:x=\"u\">\n"
	    "  <set>\n    <item "
	    "a=\"1\"><id>i-1</id><state><code>16</code></state></item>\n"
	    "    <item><id>i-&lt;2&#62;</id><state/><x:other>o</x:other></item>\n  "
	    "</set>\n"
	    "  "
	    "<empty/><neg>-5</neg><big>99999999999999999999</big><no>5x</no><sign>-</"
	    "sign>"
	    "<raw><![CDATA[<a>]]>&amp;b</raw>\n</D>\n";
	const struct xml *item;

	assert_int_equal(parse(text, strlen(text)), ERR_NONE);
	assert_string_equal(root->name, "D");
	assert_string_equal(root->text, "");
	assert_string_equal(xml_text(root, "set/item/id"), "i-1");
	assert_int_equal(xml_int(root, "set/item/state/code", -1), 16);
	item = xml_find(root, "set/item");
	assert_non_null(item);
	item = item->next;
	assert_string_equal(xml_text(item, "id"), "i-<2>");
	assert_string_equal(xml_text(item, "other"), "o");
	assert_int_equal(xml_int(item, "state/code", -1), -1);
	assert_null(item->next);
	assert_ptr_equal(item->parent, xml_child(root, "set"));
	assert_string_equal(xml_text(root, "raw"), "<a>&b");
	assert_int_equal(xml_int(root, "neg", 0), -5);
	assert_int_equal(xml_int(root, "big", 7), 7);
	assert_int_equal(xml_int(root, "no", 7), 7);
	assert_int_equal(xml_int(root, "sign", 7), 7);
	assert_int_equal(xml_int(root, "empty", 7), 7);
	assert_null(xml_find(root, "set/item/i"));
	assert_null(xml_find(root, "set/nothing/id"));
	assert_null(xml_child(root, "se"));
	assert_null(xml_child(NULL, "x"));
	assert_string_equal(xml_text(NULL, "x"), "");
}

static void
test_what_is_not_xml(void **state)
{
	static const char *const bad[] = {"", " ", "x", "<a>", "<a></b>", "<a/><b/>",
	    "<a>&x;</a>", "<a\xff/>", "<a><b></a></b>", "{\"a\": 1}", "<a/>x",
	    "<!DOCTYPE html><html></html>", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
	    "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parse(bad[i], strlen(bad[i])) != ERR_INVALID)
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(parse("<a>\0</a>", 8), ERR_INVALID);
}

static void
repeat(struct buf *b, const char *s, int n)
{
	for (int i = 0; i < n; i++)
		buf_str(b, s);
}

static enum err_code
parse_depth(int n)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	repeat(&b, "<a>", n);
	repeat(&b, "</a>", n);
	return parse(b.data, b.len);
}

static enum err_code
parse_elements(int n)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_str(&b, "<a>");
	repeat(&b, "<b/>", n - 1);
	buf_str(&b, "</a>");
	return parse(b.data, b.len);
}

static enum err_code
parse_bytes(size_t n)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_str(&b, "<a>");
	while (b.len < n - 4)
		buf_char(&b, 'x');
	buf_str(&b, "</a>");
	return parse(b.data, b.len);
}

static void
test_bounds(void **state)
{
	assert_int_equal(parse_depth(XML_DEPTH_MAX), ERR_NONE);
	assert_int_equal(parse_depth(XML_DEPTH_MAX + 1), ERR_TOO_LARGE);
	assert_int_equal(parse_elements(XML_ELEMENTS_MAX), ERR_NONE);
	assert_int_equal(parse_elements(XML_ELEMENTS_MAX + 1), ERR_TOO_LARGE);
	assert_int_equal(parse_bytes(XML_BYTES_MAX), ERR_NONE);
	assert_int_equal(strlen(root->text), XML_BYTES_MAX - 7);
	assert_int_equal(parse_bytes(XML_BYTES_MAX + 1), ERR_TOO_LARGE);
}

static void
test_many_names(void **state)
{
	AUTO_BUF struct buf b = BUF_INIT(0);
	const struct xml *x;
	int n = 0;

	buf_str(&b, "<a>");
	for (int i = 0; i < 5000; i++)
		buf_fmt(&b, "<n%d>%d</n%d>", i, i, i);
	buf_str(&b, "</a>");
	assert_int_equal(parse(b.data, b.len), ERR_NONE);
	for (x = root->child; x; x = x->next)
		n++;
	assert_int_equal(n, 5000);
	assert_string_equal(xml_text(root, "n4999"), "4999");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_find, teardown),
	    cmocka_unit_test_teardown(test_what_is_not_xml, teardown),
	    cmocka_unit_test_teardown(test_bounds, teardown),
	    cmocka_unit_test_teardown(test_many_names, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
