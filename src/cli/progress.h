/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

/* One line on a terminal's stderr that says what is being waited for; nothing on a pipe. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on;
	int64_t began_ms;
};

void progress_begin(struct progress *p);
void progress_show(const struct progress *p, const json_t *reservation);
void progress_end(const struct progress *p);

#endif
