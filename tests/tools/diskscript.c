/* SPDX-License-Identifier: Apache-2.0 */

/* Prints the script that the ec2 provider runs in a machine: diskscript mount VOLUME DEVICE NAME LOGIN | unmount VOLUME NAME. */

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "provider/ec2/disk.h"

int
main(int argc, char **argv)
{
	AUTO_BUF struct buf out = BUF_INIT(1 << 16);
	struct err err;
	int rc = -1;

	if (argc == 6 && strcmp(argv[1], "mount") == 0)
		rc = ec2_script_mount(argv[2], argv[3], argv[4], argv[5], &out, &err);
	else if (argc == 4 && strcmp(argv[1], "unmount") == 0)
		rc = ec2_script_unmount(argv[2], argv[3], &out, &err);
	else
		err_set(&err, ERR_INVALID, "usage: diskscript mount|unmount ...");
	if (rc < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	return fputs(out.data, stdout) < 0;
}
