/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_REPLY_H
#define EC2_REPLY_H

/* Replies in the making: XML as the Query APIs write it. Text is escaped; characters that XML cannot hold become '?'. Whoever
   opens an element closes it. The frame writes the root, requestId and errors. */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define REPLY_DEPTH_MAX 24

struct reply {
	struct buf body;		   /* owned */
	const char *open[REPLY_DEPTH_MAX]; /* names: literals */
	int depth;
};

void reply_fini(struct reply *r);

/* `name` is a literal: it must live until it is closed. */
void reply_open(struct reply *r, const char *name);
void reply_close(struct reply *r);

/* <name>value</name>. A NULL value writes nothing. */
void reply_text(struct reply *r, const char *name, const char *value);
void reply_fmt(struct reply *r, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void reply_int(struct reply *r, const char *name, int64_t value);
void reply_bool(struct reply *r, const char *name, bool value);

/* Wall ms as "2026-11-22T05:42:33.000Z"; whole seconds, as EC2 has them. 0 writes nothing. */
void reply_time(struct reply *r, const char *name, int64_t wall_ms);

#define REPLY_TIME_MAX 32
void reply_time_text(int64_t wall_ms, char ret[REPLY_TIME_MAX]);

/* Appends text with what XML takes for markup escaped. */
void reply_escape(struct buf *b, const char *s);

/* Appends n bytes in base64. */
void reply_base64(struct buf *b, const void *data, size_t n);

/* <return>true</return>: all that many actions say. */
void reply_true(struct reply *r);

#endif
