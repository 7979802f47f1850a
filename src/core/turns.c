/* SPDX-License-Identifier: Apache-2.0 */
#include "core/attach.h"
#include "core/core_internal.h"
#include "core/home.h"

/*
 * One thing at a time, in pools that are told so: keys, shared home, each disk, and only then a machine. It is
 * how such things are made elsewhere, and what the others can be timed beside.
 */

void
turns_begin(struct creservation *r)
{
	r->taking_turns = true;
	/* the machine's step waits for itself, until turns_go_on() says otherwise */
	r->run->rows[HOLD_STEP_MACHINE].waits_for |= 1u << HOLD_STEP_MACHINE;
	plan_run_start(r->run);
	turns_go_on(r);
}

void
turns_go_on(struct creservation *r)
{
	if (!r->taking_turns || r->r.state == RESERVATION_ENDED ||
	    plan_step_running(r->run, HOLD_STEP_KEYS))
		return;
	home_begin(r);
	if (home_is_being_made(r) || attach_next(r) || !r->taking_turns)
		return;
	r->taking_turns = false;
	r->run->rows[HOLD_STEP_MACHINE].waits_for &= ~(1u << HOLD_STEP_MACHINE);
	reservation_line_up(r);
}
