/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/types.h"

#include <stddef.h>
#include <string.h>

#define I386 TYPE_I386
#define INTEL TYPE_INTEL
#define AMD TYPE_AMD
#define ARM TYPE_ARM
#define XEN TYPE_XEN
#define METAL TYPE_METAL
#define BURST TYPE_BURST
#define HIB TYPE_HIBERNATION
#define OLD TYPE_PREVIOUS
#define FREE TYPE_FREE
#define SHARED TYPE_SHARED
#define BIOS TYPE_BIOS
#define UEFI TYPE_UEFI
#define CRYPT TYPE_ENCRYPTION
#define CLUSTER TYPE_CLUSTER
#define HOSTS TYPE_HOSTS
#define FIXED (TYPE_CLUSTER | TYPE_HOSTS)
#define UEFI_BIOS (TYPE_BIOS | TYPE_UEFI)

/* clang-format off */
static const struct ec2_type types[] = {
	{"t2.nano", 512, 1, 1, 24, 2, 2, 40, 0, 0, 0, 0, "Low to Moderate", I386 | INTEL | XEN | BURST | HIB | SHARED | BIOS},
	{"t2.micro", 1024, 1, 1, 25, 2, 2, 40, 0, 0, 0, 0, "Low to Moderate", I386 | INTEL | XEN | BURST | HIB | SHARED | BIOS},
	{"t2.small", 2048, 1, 1, 25, 3, 4, 40, 0, 0, 0, 0, "Low to Moderate", I386 | INTEL | XEN | BURST | HIB | SHARED | BIOS},
	{"t2.medium", 4096, 2, 1, 23, 3, 6, 40, 0, 0, 0, 0, "Low to Moderate", I386 | INTEL | XEN | BURST | HIB | SHARED | BIOS},
	{"t2.large", 8192, 2, 1, 23, 3, 12, 40, 0, 0, 0, 0, "Low to Moderate", INTEL | XEN | BURST | HIB | SHARED | BIOS},
	{"t2.xlarge", 16384, 4, 1, 23, 3, 15, 40, 0, 0, 0, 0, "Moderate", INTEL | XEN | BURST | HIB | SHARED | BIOS},
	{"t2.2xlarge", 32768, 8, 1, 23, 3, 15, 40, 0, 0, 0, 0, "Moderate", INTEL | XEN | BURST | HIB | SHARED | BIOS},
	{"t3.nano", 512, 2, 2, 25, 2, 2, 27, 43, 2085, 250, 11800, "Up to 5 Gigabit", UEFI_BIOS | INTEL | BURST | HIB | SHARED | HOSTS},
	{"t3.micro", 1024, 2, 2, 25, 2, 2, 27, 87, 2085, 500, 11800, "Up to 5 Gigabit", UEFI_BIOS | INTEL | BURST | HIB | FREE | SHARED | HOSTS},
	{"t3.small", 2048, 2, 2, 25, 3, 4, 27, 174, 2085, 1000, 11800, "Up to 5 Gigabit", UEFI_BIOS | INTEL | BURST | HIB | FREE | SHARED | HOSTS},
	{"t3.medium", 4096, 2, 2, 25, 3, 6, 27, 347, 2085, 2000, 11800, "Up to 5 Gigabit", UEFI_BIOS | INTEL | BURST | HIB | SHARED | HOSTS},
	{"t3.large", 8192, 2, 2, 25, 3, 12, 27, 695, 2780, 4000, 15700, "Up to 5 Gigabit", UEFI_BIOS | INTEL | BURST | HIB | SHARED | HOSTS},
	{"t3.xlarge", 16384, 4, 2, 25, 4, 15, 27, 695, 2780, 4000, 15700, "Up to 5 Gigabit", UEFI_BIOS | INTEL | BURST | HIB | SHARED | HOSTS},
	{"t3.2xlarge", 32768, 8, 2, 25, 4, 15, 27, 695, 2780, 4000, 15700, "Up to 5 Gigabit", UEFI_BIOS | INTEL | BURST | HIB | SHARED | HOSTS},
	{"t3a.nano", 512, 2, 2, 22, 2, 2, 27, 45, 2085, 250, 11800, "Up to 5 Gigabit", UEFI_BIOS | AMD | BURST | HIB | SHARED},
	{"t3a.micro", 1024, 2, 2, 22, 2, 2, 27, 90, 2085, 500, 11800, "Up to 5 Gigabit", UEFI_BIOS | AMD | BURST | HIB | SHARED},
	{"t3a.small", 2048, 2, 2, 22, 2, 4, 27, 175, 2085, 1000, 11800, "Up to 5 Gigabit", UEFI_BIOS | AMD | BURST | HIB | SHARED},
	{"t3a.medium", 4096, 2, 2, 22, 3, 6, 27, 350, 2085, 2000, 11800, "Up to 5 Gigabit", UEFI_BIOS | AMD | BURST | HIB | SHARED},
	{"t3a.large", 8192, 2, 2, 22, 3, 12, 27, 695, 2780, 4000, 15700, "Up to 5 Gigabit", UEFI_BIOS | AMD | BURST | HIB | SHARED},
	{"t3a.xlarge", 16384, 4, 2, 22, 4, 15, 27, 695, 2780, 4000, 15700, "Up to 5 Gigabit", UEFI_BIOS | AMD | BURST | HIB | SHARED},
	{"t3a.2xlarge", 32768, 8, 2, 22, 4, 15, 27, 695, 2780, 4000, 15700, "Up to 5 Gigabit", UEFI_BIOS | AMD | BURST | HIB | SHARED},
	{"t4g.nano", 512, 2, 1, 25, 2, 2, 27, 43, 2085, 250, 11800, "Up to 5 Gigabit", ARM | BURST | HIB | SHARED | UEFI},
	{"t4g.micro", 1024, 2, 1, 25, 2, 2, 27, 87, 2085, 500, 11800, "Up to 5 Gigabit", ARM | BURST | HIB | FREE | SHARED | UEFI},
	{"t4g.small", 2048, 2, 1, 25, 3, 4, 27, 174, 2085, 1000, 11800, "Up to 5 Gigabit", ARM | BURST | HIB | FREE | SHARED | UEFI},
	{"t4g.medium", 4096, 2, 1, 25, 3, 6, 27, 347, 2085, 2000, 11800, "Up to 5 Gigabit", ARM | BURST | HIB | SHARED | UEFI},
	{"t4g.large", 8192, 2, 1, 25, 3, 12, 27, 695, 2780, 4000, 15700, "Up to 5 Gigabit", ARM | BURST | HIB | SHARED | UEFI},
	{"t4g.xlarge", 16384, 4, 1, 25, 4, 15, 27, 695, 2780, 4000, 15700, "Up to 5 Gigabit", ARM | BURST | HIB | SHARED | UEFI},
	{"t4g.2xlarge", 32768, 8, 1, 25, 4, 15, 27, 695, 2780, 4000, 15700, "Up to 5 Gigabit", ARM | BURST | HIB | SHARED | UEFI},
	{"m5.large", 8192, 2, 2, 31, 3, 10, 27, 650, 4750, 3600, 18750, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"m5.xlarge", 16384, 4, 2, 31, 4, 15, 27, 1150, 4750, 6000, 18750, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"m5.2xlarge", 32768, 8, 2, 31, 4, 15, 27, 2300, 4750, 12000, 18750, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"m5.4xlarge", 65536, 16, 2, 31, 8, 30, 27, 4750, 4750, 18750, 18750, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"m5.metal", 393216, 96, 2, 31, 15, 50, 31, 19000, 19000, 80000, 80000, "25 Gigabit", FIXED | INTEL | METAL | OLD | SHARED | BIOS},
	{"m6i.large", 8192, 2, 2, 35, 3, 10, 27, 650, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED | CRYPT},
	{"m6i.xlarge", 16384, 4, 2, 35, 4, 15, 27, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED | CRYPT},
	{"m6i.2xlarge", 32768, 8, 2, 35, 4, 15, 27, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED | CRYPT},
	{"m6i.4xlarge", 65536, 16, 2, 35, 8, 30, 27, 5000, 10000, 20000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED | CRYPT},
	{"m6a.large", 8192, 2, 2, 36, 3, 10, 27, 650, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | SHARED | CRYPT},
	{"m6a.xlarge", 16384, 4, 2, 36, 4, 15, 27, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | SHARED | CRYPT},
	{"m6a.2xlarge", 32768, 8, 2, 36, 4, 15, 27, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | SHARED | CRYPT},
	{"m6a.4xlarge", 65536, 16, 2, 36, 8, 30, 27, 5000, 10000, 20000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | SHARED | CRYPT},
	{"m6g.medium", 4096, 1, 1, 25, 2, 4, 27, 315, 4750, 2500, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"m6g.large", 8192, 2, 1, 25, 3, 10, 27, 630, 4750, 3600, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"m6g.xlarge", 16384, 4, 1, 25, 4, 15, 27, 1188, 4750, 6000, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"m6g.2xlarge", 32768, 8, 1, 25, 4, 15, 27, 2375, 4750, 12000, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"m6g.4xlarge", 65536, 16, 1, 25, 8, 30, 27, 4750, 4750, 20000, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"m7i.large", 8192, 2, 2, 32, 3, 10, 32, 650, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"m7i.xlarge", 16384, 4, 2, 32, 4, 15, 32, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"m7i.2xlarge", 32768, 8, 2, 32, 4, 15, 32, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"m7i.4xlarge", 65536, 16, 2, 32, 8, 30, 32, 5000, 10000, 20000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"m7i.metal-24xl", 393216, 96, 2, 32, 15, 50, 39, 30000, 30000, 120000, 120000, "37.5 Gigabit", INTEL | METAL | BIOS | CRYPT | CLUSTER},
	{"m7i-flex.large", 8192, 2, 2, 32, 3, 10, 32, 312, 10000, 2500, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | INTEL | HIB | FREE | CRYPT},
	{"m7i-flex.xlarge", 16384, 4, 2, 32, 4, 15, 32, 625, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | INTEL | HIB | CRYPT},
	{"m7i-flex.2xlarge", 32768, 8, 2, 32, 4, 15, 32, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | INTEL | HIB | CRYPT},
	{"m7i-flex.4xlarge", 65536, 16, 2, 32, 8, 30, 32, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | INTEL | HIB | CRYPT},
	{"m7a.medium", 4096, 1, 1, 37, 2, 4, 32, 325, 10000, 2500, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | CRYPT},
	{"m7a.large", 8192, 2, 1, 37, 3, 10, 32, 650, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | CRYPT},
	{"m7a.xlarge", 16384, 4, 1, 37, 4, 15, 32, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | CRYPT},
	{"m7a.2xlarge", 32768, 8, 1, 37, 4, 15, 32, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | CRYPT},
	{"m7a.4xlarge", 65536, 16, 1, 37, 8, 30, 32, 5000, 10000, 20000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | CRYPT},
	{"m7g.medium", 4096, 1, 1, 26, 2, 4, 27, 315, 10000, 2500, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"m7g.large", 8192, 2, 1, 26, 3, 10, 27, 630, 10000, 3600, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"m7g.xlarge", 16384, 4, 1, 26, 4, 15, 27, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"m7g.2xlarge", 32768, 8, 1, 26, 4, 15, 27, 2500, 10000, 12000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"m7g.4xlarge", 65536, 16, 1, 26, 8, 30, 27, 5000, 10000, 20000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"m7g.metal", 262144, 64, 1, 26, 15, 50, 31, 20000, 20000, 80000, 80000, "30 Gigabit", FIXED | ARM | METAL | SHARED | UEFI | CRYPT},
	{"m8g.medium", 4096, 1, 1, 28, 2, 4, 32, 315, 10000, 2500, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"m8g.large", 8192, 2, 1, 28, 3, 10, 32, 630, 10000, 3600, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"m8g.xlarge", 16384, 4, 1, 28, 4, 15, 32, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"m8g.2xlarge", 32768, 8, 1, 28, 4, 15, 32, 2500, 10000, 12000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"m8g.4xlarge", 65536, 16, 1, 28, 8, 30, 32, 5000, 10000, 20000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"c5.large", 4096, 2, 2, 34, 3, 10, 27, 650, 4750, 4000, 20000, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"c5.xlarge", 8192, 4, 2, 34, 4, 15, 27, 1150, 4750, 6000, 20000, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"c5.2xlarge", 16384, 8, 2, 34, 4, 15, 27, 2300, 4750, 10000, 20000, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"c5.4xlarge", 32768, 16, 2, 34, 8, 30, 27, 4750, 4750, 20000, 20000, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"c6i.large", 4096, 2, 2, 35, 3, 10, 27, 650, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | SHARED | CRYPT},
	{"c6i.xlarge", 8192, 4, 2, 35, 4, 15, 27, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | SHARED | CRYPT},
	{"c6i.2xlarge", 16384, 8, 2, 35, 4, 15, 27, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | SHARED | CRYPT},
	{"c6i.4xlarge", 32768, 16, 2, 35, 8, 30, 27, 5000, 10000, 20000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | SHARED | CRYPT},
	{"c6g.medium", 2048, 1, 1, 25, 2, 4, 27, 315, 4750, 2500, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"c6g.large", 4096, 2, 1, 25, 3, 10, 27, 630, 4750, 3600, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"c6g.xlarge", 8192, 4, 1, 25, 4, 15, 27, 1188, 4750, 6000, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"c6g.2xlarge", 16384, 8, 1, 25, 4, 15, 27, 2375, 4750, 12000, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"c6g.4xlarge", 32768, 16, 1, 25, 8, 30, 27, 4750, 4750, 20000, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"c7i.large", 4096, 2, 2, 32, 3, 10, 32, 650, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"c7i.xlarge", 8192, 4, 2, 32, 4, 15, 32, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"c7i.2xlarge", 16384, 8, 2, 32, 4, 15, 32, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"c7i.4xlarge", 32768, 16, 2, 32, 8, 30, 32, 5000, 10000, 20000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"c7i-flex.large", 4096, 2, 2, 32, 3, 10, 32, 312, 10000, 2500, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | INTEL | HIB | FREE | CRYPT},
	{"c7i-flex.xlarge", 8192, 4, 2, 32, 4, 15, 32, 625, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | INTEL | HIB | CRYPT},
	{"c7i-flex.2xlarge", 16384, 8, 2, 32, 4, 15, 32, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | INTEL | HIB | CRYPT},
	{"c7i-flex.4xlarge", 32768, 16, 2, 32, 8, 30, 32, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | INTEL | HIB | CRYPT},
	{"c7a.medium", 2048, 1, 1, 37, 2, 4, 32, 325, 10000, 2500, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | CRYPT},
	{"c7a.large", 4096, 2, 1, 37, 3, 10, 32, 650, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | CRYPT},
	{"c7a.xlarge", 8192, 4, 1, 37, 4, 15, 32, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | CRYPT},
	{"c7a.2xlarge", 16384, 8, 1, 37, 4, 15, 32, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | CRYPT},
	{"c7a.4xlarge", 32768, 16, 1, 37, 8, 30, 32, 5000, 10000, 20000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | AMD | HIB | CRYPT},
	{"c7g.medium", 2048, 1, 1, 26, 2, 4, 27, 315, 10000, 2500, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"c7g.large", 4096, 2, 1, 26, 3, 10, 27, 630, 10000, 3600, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"c7g.xlarge", 8192, 4, 1, 26, 4, 15, 27, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"c7g.2xlarge", 16384, 8, 1, 26, 4, 15, 27, 2500, 10000, 12000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"c7g.4xlarge", 32768, 16, 1, 26, 8, 30, 27, 5000, 10000, 20000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"c8g.medium", 2048, 1, 1, 28, 2, 4, 32, 315, 10000, 2500, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"c8g.large", 4096, 2, 1, 28, 3, 10, 32, 630, 10000, 3600, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"c8g.xlarge", 8192, 4, 1, 28, 4, 15, 32, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"c8g.2xlarge", 16384, 8, 1, 28, 4, 15, 32, 2500, 10000, 12000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"c8g.4xlarge", 32768, 16, 1, 28, 8, 30, 32, 5000, 10000, 20000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"r5.large", 16384, 2, 2, 31, 3, 10, 27, 650, 4750, 3600, 18750, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"r5.xlarge", 32768, 4, 2, 31, 4, 15, 27, 1150, 4750, 6000, 18750, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"r5.2xlarge", 65536, 8, 2, 31, 4, 15, 27, 2300, 4750, 12000, 18750, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"r5.4xlarge", 131072, 16, 2, 31, 8, 30, 27, 4750, 4750, 18750, 18750, "Up to 10 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | OLD | SHARED},
	{"r6i.large", 16384, 2, 2, 35, 3, 10, 27, 650, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | OLD | SHARED | CRYPT},
	{"r6i.xlarge", 32768, 4, 2, 35, 4, 15, 27, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | OLD | SHARED | CRYPT},
	{"r6i.2xlarge", 65536, 8, 2, 35, 4, 15, 27, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | OLD | SHARED | CRYPT},
	{"r6i.4xlarge", 131072, 16, 2, 35, 8, 30, 27, 5000, 10000, 20000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | OLD | SHARED | CRYPT},
	{"r6g.medium", 8192, 1, 1, 25, 2, 4, 27, 315, 4750, 2500, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"r6g.large", 16384, 2, 1, 25, 3, 10, 27, 630, 4750, 3600, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"r6g.xlarge", 32768, 4, 1, 25, 4, 15, 27, 1188, 4750, 6000, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"r6g.2xlarge", 65536, 8, 1, 25, 4, 15, 27, 2375, 4750, 12000, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"r6g.4xlarge", 131072, 16, 1, 25, 8, 30, 27, 4750, 4750, 20000, 20000, "Up to 10 Gigabit", FIXED | ARM | HIB | SHARED | UEFI},
	{"r7i.large", 16384, 2, 2, 32, 3, 10, 32, 650, 10000, 3600, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"r7i.xlarge", 32768, 4, 2, 32, 4, 15, 32, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"r7i.2xlarge", 65536, 8, 2, 32, 4, 15, 32, 2500, 10000, 12000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"r7i.4xlarge", 131072, 16, 2, 32, 8, 30, 32, 5000, 10000, 20000, 40000, "Up to 12.5 Gigabit", UEFI_BIOS | FIXED | INTEL | HIB | CRYPT},
	{"r7g.medium", 8192, 1, 1, 26, 2, 4, 27, 315, 10000, 2500, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"r7g.large", 16384, 2, 1, 26, 3, 10, 27, 630, 10000, 3600, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"r7g.xlarge", 32768, 4, 1, 26, 4, 15, 27, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"r7g.2xlarge", 65536, 8, 1, 26, 4, 15, 27, 2500, 10000, 12000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"r7g.4xlarge", 131072, 16, 1, 26, 8, 30, 27, 5000, 10000, 20000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | SHARED | UEFI | CRYPT},
	{"r8g.medium", 8192, 1, 1, 28, 2, 4, 32, 315, 10000, 2500, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"r8g.large", 16384, 2, 1, 28, 3, 10, 32, 630, 10000, 3600, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"r8g.xlarge", 32768, 4, 1, 28, 4, 15, 32, 1250, 10000, 6000, 40000, "Up to 12.5 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"r8g.2xlarge", 65536, 8, 1, 28, 4, 15, 32, 2500, 10000, 12000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"r8g.4xlarge", 131072, 16, 1, 28, 8, 30, 32, 5000, 10000, 20000, 40000, "Up to 15 Gigabit", FIXED | ARM | HIB | UEFI | CRYPT},
	{"g4dn.xlarge", 16384, 4, 2, 25, 3, 10, 25, 950, 3500, 3000, 20000, "Up to 25 Gigabit", UEFI_BIOS | INTEL | SHARED | CRYPT | CLUSTER, "T4", 16384, 125},
	{"g4dn.2xlarge", 32768, 8, 2, 25, 3, 10, 25, 1150, 3500, 6000, 20000, "Up to 25 Gigabit", UEFI_BIOS | INTEL | SHARED | CRYPT | CLUSTER, "T4", 16384, 225},
	{"g4dn.4xlarge", 65536, 16, 2, 25, 3, 10, 25, 4750, 4750, 20000, 20000, "Up to 25 Gigabit", UEFI_BIOS | INTEL | SHARED | CRYPT | CLUSTER, "T4", 16384, 225},
	{"g5.xlarge", 16384, 4, 2, 33, 4, 15, 25, 700, 3500, 3000, 15000, "Up to 10 Gigabit", UEFI_BIOS | AMD | OLD | SHARED | CRYPT | CLUSTER, "A10G", 22888, 250},
	{"g5.2xlarge", 32768, 8, 2, 33, 4, 15, 25, 850, 3500, 3500, 15000, "Up to 10 Gigabit", UEFI_BIOS | AMD | OLD | SHARED | CRYPT | CLUSTER, "A10G", 22888, 450},
	{"g5.4xlarge", 65536, 16, 2, 33, 8, 30, 25, 4750, 4750, 20000, 20000, "Up to 25 Gigabit", UEFI_BIOS | AMD | OLD | SHARED | CRYPT | CLUSTER, "A10G", 22888, 600},
	{"g6.xlarge", 16384, 4, 2, 34, 4, 15, 32, 1000, 5000, 4000, 20000, "Up to 10 Gigabit", UEFI_BIOS | AMD | CRYPT | CLUSTER, "L4", 22888, 250},
	{"g6.2xlarge", 32768, 8, 2, 34, 4, 15, 32, 2000, 5000, 8000, 20000, "Up to 10 Gigabit", UEFI_BIOS | AMD | CRYPT | CLUSTER, "L4", 22888, 450},
	{"g6.4xlarge", 65536, 16, 2, 34, 8, 30, 32, 8000, 8000, 32000, 32000, "Up to 25 Gigabit", UEFI_BIOS | AMD | CRYPT | CLUSTER, "L4", 22888, 600},
};
/* clang-format on */

const struct ec2_type *
ec2_types(int *ret_n)
{
	*ret_n = (int)(sizeof types / sizeof types[0]);
	return types;
}

const struct ec2_type *
ec2_type_find(const char *name)
{
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		if (strcmp(types[i].name, name) == 0)
			return &types[i];
	}
	return NULL;
}

const char *
ec2_type_architecture(const struct ec2_type *t)
{
	return t->flags & TYPE_ARM ? "arm64" : "x86_64";
}
