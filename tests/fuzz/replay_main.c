/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files and directories it is given: what the fuzzer once
   found stays found, with any compiler. An empty corpus is an error, for it would test
   nothing. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "fuzz.h"

static size_t done;

static int
replay_file(const char *path)
{
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	AUTO_FREE uint8_t *data = NULL;
	struct stat st;

	if (!f || fstat(fileno(f), &st) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	/* Exactly as long as the input, so that a sanitizer sees a read past it. */
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!data || fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size) {
		fprintf(stderr, "%s: cannot read it whole\n", path);
		return -1;
	}
	(void)LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	done++;
	return 0;
}

static int
replay(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	int rc = 0;

	if (!dir)
		return replay_file(path);
	while (rc == 0 && (e = readdir(dir))) {
		AUTO_FREE char *file = xasprintf("%s/%s", path, e->d_name);

		if (e->d_name[0] != '.')
			rc = replay_file(file);
	}
	closedir(dir);
	return rc;
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (replay(argv[i]) < 0)
			return 1;
	printf("%zu inputs\n", done);
	return done ? 0 : 1;
}
