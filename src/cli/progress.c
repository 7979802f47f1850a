/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/text.h"
#include "cli/view.h"

void
progress_begin(struct progress *p)
{
	const char *term = getenv("TERM");

	p->on = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
	p->began_ms = clock_real_now_ms();
}

void
progress_show(const struct progress *p, const json_t *reservation)
{
	AUTO_BUF struct buf b = BUF_INIT(0);
	int64_t position = view_int(reservation, "queue_position", 0);
	int64_t eta;

	if (!p->on)
		return;
	buf_str(&b, "\r\033[K");
	text_clean(&b, view_str(reservation, "name"));
	buf_str(&b, ": ");
	text_clean(&b, view_str(reservation, "state"));
	if (position > 0)
		buf_fmt(&b, ", number %lld in the queue", (long long)position);
	if (view_time(reservation, "eta", &eta)) {
		buf_str(&b, ", ready in about ");
		text_span(&b, eta - clock_real_wall_ms());
	}
	buf_str(&b, " (");
	text_span(&b, clock_real_now_ms() - p->began_ms);
	buf_str(&b, ")");
	fwrite(b.data, 1, b.len, stderr);
	fflush(stderr);
}

void
progress_end(const struct progress *p)
{
	if (p->on)
		fputs("\r\033[K", stderr);
}
