/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TRACE_FORMAT_H
#define CLI_TRACE_FORMAT_H

/* A reservation's trace, as the API gives it, for people and for two kinds of viewers. */

#include <jansson.h>

#include "base/buf.h"

/* A timeline with one bar a step; '#' is the critical path. */
void trace_text(struct buf *b, const json_t *trace);

/* Chrome's trace events (chrome://tracing, ui.perfetto.dev): steps that overlap are on rows of their
   own. Owned. */
json_t *trace_chrome(const json_t *trace);

/* OTLP/JSON, an ExportTraceServiceRequest: a span for the reservation and one below it for each step,
   linked to those it waited for. Ids are made from the reservation's, so that exporting twice is
   harmless. Owned. */
json_t *trace_otlp(const json_t *trace);

#endif
