/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/prices.h"

#include <stddef.h>
#include <string.h>

/* In no order that matters: it is searched once per machine that is launched. */
/* clang-format off */
static const struct {
	const char *type;
	double usd;
} us_east_1[] = {
	{"t2.nano", 0.0058}, {"t2.micro", 0.0116}, {"t2.small", 0.023},
	{"t2.medium", 0.0464}, {"t2.large", 0.0928}, {"t2.xlarge", 0.1856},
	{"t2.2xlarge", 0.3712},
	{"t3.nano", 0.0052}, {"t3.micro", 0.0104}, {"t3.small", 0.0208},
	{"t3.medium", 0.0416}, {"t3.large", 0.0832}, {"t3.xlarge", 0.1664},
	{"t3.2xlarge", 0.3328},
	{"t3a.nano", 0.0047}, {"t3a.micro", 0.0094}, {"t3a.small", 0.0188},
	{"t3a.medium", 0.0376}, {"t3a.large", 0.0752}, {"t3a.xlarge", 0.1504},
	{"t3a.2xlarge", 0.3008},
	{"t4g.nano", 0.0042}, {"t4g.micro", 0.0084}, {"t4g.small", 0.0168},
	{"t4g.medium", 0.0336}, {"t4g.large", 0.0672}, {"t4g.xlarge", 0.1344},
	{"t4g.2xlarge", 0.2688},
	{"m5.large", 0.096}, {"m5.xlarge", 0.192}, {"m5.2xlarge", 0.384},
	{"m5.4xlarge", 0.768}, {"m5.metal", 4.608},
	{"m6i.large", 0.096}, {"m6i.xlarge", 0.192}, {"m6i.2xlarge", 0.384},
	{"m6i.4xlarge", 0.768},
	{"m6a.large", 0.0864}, {"m6a.xlarge", 0.1728}, {"m6a.2xlarge", 0.3456},
	{"m6a.4xlarge", 0.6912},
	{"m6g.medium", 0.0385}, {"m6g.large", 0.077}, {"m6g.xlarge", 0.154},
	{"m6g.2xlarge", 0.308}, {"m6g.4xlarge", 0.616},
	{"m7i.large", 0.1008}, {"m7i.xlarge", 0.2016}, {"m7i.2xlarge", 0.4032},
	{"m7i.4xlarge", 0.8064}, {"m7i.metal-24xl", 5.32224},
	{"m7i-flex.large", 0.09576}, {"m7i-flex.xlarge", 0.19152},
	{"m7i-flex.2xlarge", 0.38304}, {"m7i-flex.4xlarge", 0.76608},
	{"m7a.medium", 0.05796}, {"m7a.large", 0.11592}, {"m7a.xlarge", 0.23184},
	{"m7a.2xlarge", 0.46368}, {"m7a.4xlarge", 0.92736},
	{"m7g.medium", 0.0408}, {"m7g.large", 0.0816}, {"m7g.xlarge", 0.1632},
	{"m7g.2xlarge", 0.3264}, {"m7g.4xlarge", 0.6528}, {"m7g.metal", 2.6112},
	{"m8g.medium", 0.04488}, {"m8g.large", 0.08976}, {"m8g.xlarge", 0.17952},
	{"m8g.2xlarge", 0.35904}, {"m8g.4xlarge", 0.71808},
	{"c5.large", 0.085}, {"c5.xlarge", 0.17}, {"c5.2xlarge", 0.34},
	{"c5.4xlarge", 0.68},
	{"c6i.large", 0.085}, {"c6i.xlarge", 0.17}, {"c6i.2xlarge", 0.34},
	{"c6i.4xlarge", 0.68},
	{"c6g.medium", 0.034}, {"c6g.large", 0.068}, {"c6g.xlarge", 0.136},
	{"c6g.2xlarge", 0.272}, {"c6g.4xlarge", 0.544},
	{"c7i.large", 0.08925}, {"c7i.xlarge", 0.1785}, {"c7i.2xlarge", 0.357},
	{"c7i.4xlarge", 0.714},
	{"c7i-flex.large", 0.08479}, {"c7i-flex.xlarge", 0.16958},
	{"c7i-flex.2xlarge", 0.33915}, {"c7i-flex.4xlarge", 0.6783},
	{"c7a.medium", 0.05132}, {"c7a.large", 0.10264}, {"c7a.xlarge", 0.20528},
	{"c7a.2xlarge", 0.41056}, {"c7a.4xlarge", 0.82112},
	{"c7g.medium", 0.0363}, {"c7g.large", 0.0725}, {"c7g.xlarge", 0.145},
	{"c7g.2xlarge", 0.29}, {"c7g.4xlarge", 0.58},
	{"c8g.medium", 0.03988}, {"c8g.large", 0.07976}, {"c8g.xlarge", 0.15952},
	{"c8g.2xlarge", 0.31904}, {"c8g.4xlarge", 0.63808},
	{"r5.large", 0.126}, {"r5.xlarge", 0.252}, {"r5.2xlarge", 0.504},
	{"r5.4xlarge", 1.008},
	{"r6i.large", 0.126}, {"r6i.xlarge", 0.252}, {"r6i.2xlarge", 0.504},
	{"r6i.4xlarge", 1.008},
	{"r6g.medium", 0.0504}, {"r6g.large", 0.1008}, {"r6g.xlarge", 0.2016},
	{"r6g.2xlarge", 0.4032}, {"r6g.4xlarge", 0.8064},
	{"r7i.large", 0.1323}, {"r7i.xlarge", 0.2646}, {"r7i.2xlarge", 0.5292},
	{"r7i.4xlarge", 1.0584},
	{"r7g.medium", 0.0536}, {"r7g.large", 0.1071}, {"r7g.xlarge", 0.2142},
	{"r7g.2xlarge", 0.4284}, {"r7g.4xlarge", 0.8568},
	{"r8g.medium", 0.05891}, {"r8g.large", 0.11782}, {"r8g.xlarge", 0.23564},
	{"r8g.2xlarge", 0.47128}, {"r8g.4xlarge", 0.94256},
	{"g4dn.xlarge", 0.526}, {"g4dn.2xlarge", 0.752}, {"g4dn.4xlarge", 1.204},
	{"g5.xlarge", 1.006}, {"g5.2xlarge", 1.212}, {"g5.4xlarge", 1.624},
	{"g6.xlarge", 0.8048}, {"g6.2xlarge", 0.9776}, {"g6.4xlarge", 1.3232},
};
/* clang-format on */

double
aws_price_usd_per_hour(const char *type)
{
	for (size_t i = 0; i < sizeof us_east_1 / sizeof us_east_1[0]; i++) {
		if (strcmp(us_east_1[i].type, type) == 0)
			return us_east_1[i].usd;
	}
	return 0;
}
