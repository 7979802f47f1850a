/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_SAVE_H
#define LAUNCHER_SAVE_H

/* Images made of instances: a copy of what the instance sees as its root file system, with the owners that an image has. */

#include "base/err.h"
#include "launcher/launcher.h"
#include "launcher/protocol.h"

/* Copies instance `id`'s disk into a new image `name` and makes it current; where that image is there already, it is left as
   it is. A running instance is frozen meanwhile, and goes on afterwards. Takes as long as it takes to copy, half an
   hour at most. ERR_NOT_FOUND: no such instance; ERR_CONFLICT: this image is being made. */
ERR_CHECK int image_save(const struct launcher *l, const char *id, const char *name,
    char ret_version[LAUNCHER_VERSION_MAX], struct err *err);

/* Nothing new is made of the image from here on. Its versions are removed unless an instance is of them; the rest goes with
   image_sweep(). Fine when there is none. */
ERR_CHECK int image_drop(const struct launcher *l, const char *name, struct err *err);

/* Removes what is left of dropped images that nobody uses any more. Logs failures. */
void image_sweep(const struct launcher *l);

#endif
