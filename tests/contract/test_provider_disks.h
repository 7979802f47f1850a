/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTRACT_TEST_PROVIDER_DISKS_H
#define CONTRACT_TEST_PROVIDER_DISKS_H

/* Runs the contract suite's part on disks; returns how many tests failed. Nothing where the provider has no disks. */
int provider_disks_run(void);

#endif
