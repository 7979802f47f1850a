/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_SERVE_H
#define LAUNCHER_SERVE_H

/* One request, in a process of its own. */

#include <stdbool.h>

#include "launcher/launcher.h"

/* May whoever is at the other end ask for anything? */
bool serve_permits(const struct launcher *l, int connection);

/* Receives the request, does it, answers. Takes as long as the operation; a peer that says nothing is
   given up after seconds. The process is good for nothing afterwards. */
void serve(const struct launcher *l, int connection);

#endif
