/* SPDX-License-Identifier: Apache-2.0 */
#include "ssh/wire.h"

#include <assert.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/xalloc.h"

struct wire_reader
wire_reader(const void *data, size_t n)
{
	return (struct wire_reader){.p = data, .left = n};
}

struct wire_str
wire_get_bytes(struct wire_reader *r, size_t n)
{
	struct wire_str s = {r->p, n};

	if (r->bad || n > r->left) {
		r->bad = true;
		return (struct wire_str){(const uint8_t *)"", 0};
	}
	r->p += n;
	r->left -= n;
	return s;
}

static uint64_t
get_be(struct wire_reader *r, size_t width)
{
	struct wire_str s = wire_get_bytes(r, width);
	uint64_t v = 0;

	for (size_t i = 0; i < s.n; i++)
		v = v << 8 | s.p[i];
	return v;
}

uint32_t
wire_get_u32(struct wire_reader *r)
{
	return (uint32_t)get_be(r, 4);
}

uint64_t
wire_get_u64(struct wire_reader *r)
{
	return get_be(r, 8);
}

struct wire_str
wire_get_str(struct wire_reader *r)
{
	return wire_get_bytes(r, wire_get_u32(r));
}

struct wire_str
wire_get_mpint(struct wire_reader *r)
{
	struct wire_str s = wire_get_str(r);

	if (s.n > 0 && s.p[0] == 0) {
		s.p++;
		s.n--;
		if (s.n == 0 || !(s.p[0] & 0x80))
			r->bad = true;
	} else if (s.n == 0 || (s.p[0] & 0x80)) {
		r->bad = true;
	}
	return s;
}

bool
wire_str_is(struct wire_str s, const char *text)
{
	return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

char *
wire_str_dup(struct wire_str s)
{
	if (memchr(s.p, '\0', s.n))
		return NULL;
	return xstrndup((const char *)s.p, s.n);
}

void
wire_put_str(struct buf *b, const void *data, size_t n)
{
	assert(n <= UINT32_MAX);
	buf_u32be(b, (uint32_t)n);
	buf_add(b, data, n);
}

void
wire_put_cstr(struct buf *b, const char *s)
{
	wire_put_str(b, s, strlen(s));
}

size_t
wire_open(struct buf *b)
{
	buf_u32be(b, 0);
	return b->len;
}

void
wire_close(struct buf *b, size_t mark)
{
	uint32_t n = (uint32_t)(b->len - mark);
	unsigned char be[4] = {n >> 24, n >> 16, n >> 8, n};

	if (!b->overflow)
		memcpy(b->data + mark - sizeof(be), be, sizeof(be));
}

static bool
is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct wire_str
wire_word(struct wire_str *s)
{
	struct wire_str w;

	while (s->n && is_space(s->p[0]))
		s->p++, s->n--;
	w.p = s->p;
	while (s->n && !is_space(s->p[0]))
		s->p++, s->n--;
	w.n = (size_t)(s->p - w.p);
	return w;
}

struct wire_str
wire_trim(struct wire_str s)
{
	while (s.n && is_space(s.p[0]))
		s.p++, s.n--;
	while (s.n && is_space(s.p[s.n - 1]))
		s.n--;
	return s;
}

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int
value_of(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, of which the last `padding` are '='. */
static bool
decode_group(const uint8_t *s, size_t padding, struct buf *out)
{
	uint32_t v = 0;

	for (size_t i = 0; i < 4; i++) {
		int x = i < 4 - padding ? value_of(s[i]) : 0;

		if (x < 0)
			return false;
		v = v << 6 | (uint32_t)x;
	}
	if (v & ((1u << 8 * padding) - 1))
		return false;
	buf_add(out, (uint8_t[]){v >> 16, v >> 8, v}, 3 - padding);
	return true;
}

bool
wire_base64_decode(struct wire_str s, struct buf *out)
{
	if (s.n % 4 != 0)
		return false;
	for (size_t i = 0; i < s.n; i += 4) {
		bool last = i + 4 == s.n;
		size_t padding = !last || s.p[i + 3] != '=' ? 0
				 : s.p[i + 2] != '='	    ? 1
							    : 2;

		if (!decode_group(s.p + i, padding, out))
			return false;
	}
	return !out->overflow;
}

void
wire_base64_encode(const void *data, size_t n, bool pad, struct buf *out)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i += 3) {
		size_t k = n - i < 3 ? n - i : 3;
		uint32_t v = (uint32_t)p[i] << 16 |
			     (k > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (k > 2 ? p[i + 2] : 0);
		char c[4] = {alphabet[v >> 18], alphabet[v >> 12 & 63],
		    k > 1 ? alphabet[v >> 6 & 63] : '=', k > 2 ? alphabet[v & 63] : '='};

		buf_add(out, c, pad ? 4 : k + 1);
	}
}

struct buf
wire_secret(size_t cap)
{
	return (struct buf){.data = xcalloc(1, cap + 1), .cap = cap + 1, .max = cap};
}

void
wire_wipe(struct buf *b)
{
	if (b->data)
		OPENSSL_cleanse(b->data, b->cap);
	buf_fini(b);
}
