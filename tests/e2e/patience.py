# SPDX-License-Identifier: Apache-2.0
"""HEARTH_TEST_PATIENCE=N: this host is that many times slower than a usual one (an emulated processor, say). How long a
test waits at most, and what it takes for quick, is multiplied by it; what it takes for true is not."""

import os

PATIENCE = int(os.environ.get("HEARTH_TEST_PATIENCE", "1"))
