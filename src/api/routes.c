/* SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

/* clang-format off */
const struct route routes[] = {
	{ "POST",   "/v1/reservations",                   ROLE_USER,     0,           handle_reserve },
	{ "GET",    "/v1/reservations",                   ROLE_USER,     QUERY_ALL,   handle_reservations },
	{ "GET",    "/v1/reservations/{id}",              ROLE_USER,     QUERY_WAIT,  handle_reservation },
	{ "PATCH",  "/v1/reservations/{id}",              ROLE_USER,     0,           handle_extend },
	{ "DELETE", "/v1/reservations/{id}",              ROLE_USER,     QUERY_WAIT,  handle_cancel },
	{ "POST",   "/v1/reservations/{id}/certificates", ROLE_USER,     0,           handle_certify },
	{ "GET",    "/v1/reservations/{id}/trace",        ROLE_USER,     0,           handle_trace },
	{ "GET",    "/v1/reservations/{id}/why",          ROLE_USER,     0,           handle_why },
	{ "GET",    "/v1/pools",                          ROLE_USER,     0,           handle_pools },
	{ "GET",    "/v1/pools/{name}",                   ROLE_USER,     0,           handle_pool },
	{ "PATCH",  "/v1/pools/{name}",                   ROLE_OPERATOR, 0,           handle_pool_set },
	{ "GET",    "/v1/machines",                       ROLE_USER,     0,           handle_machines },
	{ "GET",    "/v1/machines/{id}",                  ROLE_USER,     0,           handle_machine },
	{ "GET",    "/v1/disks",                          ROLE_USER,     QUERY_ALL,   handle_disks },
	{ "POST",   "/v1/disks",                          ROLE_USER,     0,           handle_disk_create },
	{ "GET",    "/v1/disks/{id}",                     ROLE_USER,     0,           handle_disk },
	{ "DELETE", "/v1/disks/{id}",                     ROLE_USER,     0,           handle_disk_delete },
	{ "POST",   "/v1/disks/{id}/snapshots",           ROLE_USER,     0,           handle_disk_snapshot },
	{ "POST",   "/v1/disks/{id}/clone",               ROLE_USER,     0,           handle_disk_clone },
	{ "GET",    "/v1/images",                         ROLE_USER,     0,           handle_images },
	{ "POST",   "/v1/images",                         ROLE_OPERATOR, 0,           handle_image_build },
	{ "POST",   "/v1/images/{name}/builds",           ROLE_OPERATOR, 0,           handle_image_build },
	{ "DELETE", "/v1/images/{name}",                  ROLE_OPERATOR, 0,           handle_image_delete },
	{ "GET",    "/v1/audit",                          ROLE_OPERATOR, 0,           handle_audit },
	{ "POST",   "/v1/audit",                          ROLE_OPERATOR, 0,           handle_repair },
	{ "GET",    "/v1/events",                         ROLE_USER,     QUERY_SINCE, handle_events },
	{ "GET",    "/v1/health",                         ROLE_USER,     0,           handle_health },
	{ "GET",    "/v1/bench",                          ROLE_USER,     0,           handle_bench },
	{ "POST",   "/v1/bench",                          ROLE_USER,     0,           handle_bench },
	{ "GET",    "/metrics",                           ROLE_USER,     0,           handle_metrics },
};
/* clang-format on */

const int n_routes = sizeof(routes) / sizeof(routes[0]);
