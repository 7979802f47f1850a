/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_PRICES_H
#define AWS_PRICES_H

/*
 * What an hour of an instance costs, on demand, Linux, shared tenancy, in USD. Source: AWS's price list as
 * Karpenter keeps it (pkg/providers/pricing/zz_generated.pricing_aws.go, generated 2026-07-20 for us-east-1). Other
 * regions are not in that table; they cost the same or more, so that this is their least.
 */

/* In us-east-1; 0: not known. */
double aws_price_usd_per_hour(const char *type);

/* A public IPv4 address, and a gibibyte of a gp3 volume for a month of 730 hours (AWS's price pages, early 2026,
   us-east-1). */
#define AWS_PRICE_PUBLIC_IPV4_USD_PER_HOUR 0.005
#define AWS_PRICE_GP3_USD_PER_GIB_MONTH 0.08

#endif
