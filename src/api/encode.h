/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_ENCODE_H
#define API_ENCODE_H

/* The nouns as JSON, one function each, exactly as docs/api.md has them: null where there is nothing to
   say, times in RFC 3339. `key` NULL: an element of an array or a document of its own. */

#include "base/buf.h"
#include "core/core.h"

void encode_reservation(struct buf *b, const struct reservation_view *v);
void encode_disk(struct buf *b, const struct disk_view *v);
void encode_machine(struct buf *b, const struct machine_view *v);
void encode_pool(struct buf *b, const struct pool_view *v);
void encode_image(struct buf *b, const struct image_view *v);
void encode_trace(struct buf *b, const struct trace *t);
void encode_why(struct buf *b, const struct trace *t);
void encode_audit(struct buf *b, const struct audit *a);
void encode_event(struct buf *b, const struct event *e);
void encode_error(struct buf *b, const struct err *err);

#endif
