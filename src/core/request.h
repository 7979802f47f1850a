/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_REQUEST_H
#define CORE_REQUEST_H

/* The callers' side of reservations: requests under way and those who wait for a reservation. */

struct creservation;
struct err;

/* One of a request's reservations is claimed, stored as waiting, or (err) cannot be stored. */
void request_settled(struct creservation *r, const struct err *err);

/* It waits in line; the request is settled when that is durable. */
void request_waits(struct creservation *r);

/* Answers whoever waits for what r now is. */
void request_answer_waiters(struct creservation *r);

/* Answers everybody who waits with an error. */
void request_fail_waiters(struct creservation *r, const struct err *err);

/* One of `--count N` failed before all were active: the others end too. */
void request_group_ended(struct creservation *r);

#endif
