/* SPDX-License-Identifier: Apache-2.0 */
#include "host/subids.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "launcher/protocol.h"

#define LINE_SIZE 512
#define IDS_PER_MACHINE 65536

/* OWNER:FIRST:COUNT, decimal. */
static bool
parse_line(char *line, const char **ret_owner, int64_t *ret_first, int64_t *ret_n)
{
	char *first = strchr(line, ':'), *n = first ? strchr(first + 1, ':') : NULL, *end;

	if (!n || first == line)
		return false;
	*first++ = *n++ = '\0';
	errno = 0;
	*ret_first = strtoll(first, &end, 10);
	if (errno || end == first || *end || *ret_first < 0 || *ret_first > UINT32_MAX)
		return false;
	*ret_n = strtoll(n, &end, 10);
	if (errno || end == n || *end || *ret_n < 1 || *ret_n > UINT32_MAX)
		return false;
	*ret_owner = line;
	return true;
}

static bool
is_root(const char *owner)
{
	return strcmp(owner, "root") == 0 || strcmp(owner, "0") == 0;
}

static int
check_line(const char *path, char *line, int64_t first, int64_t n, struct err *err)
{
	const char *owner;
	int64_t theirs, theirs_n;

	if (!parse_line(line, &owner, &theirs, &theirs_n) || theirs >= first + n ||
	    theirs + theirs_n <= first)
		return 0;
	if (is_root(owner)) {
		log_warn("uid_base: by %s root's own containers may use ids of machines "
			 "(%lld to %lld); give 'uid_base' another value if there are any",
		    path, (long long)theirs, (long long)(theirs + theirs_n - 1));
		return 0;
	}
	err_set(err, ERR_CONFLICT,
	    "uid_base: machines have the ids %lld to %lld, of which '%.32s' may use "
	    "%lld to %lld by %s",
	    (long long)first, (long long)(first + n - 1), owner, (long long)theirs,
	    (long long)(theirs + theirs_n - 1), path);
	return err_hint(err, "give 'uid_base' of the provider another value, or its "
			     "network fewer addresses");
}

int
subids_check(const char *path, int64_t first, int64_t n, struct err *err)
{
	FILE *f = fopen(path, "re");
	char line[LINE_SIZE];
	int rc = 0;

	if (!f)
		return errno == ENOENT ? 0 : err_errno(err, errno, "%s", path);
	while (rc == 0 && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		rc = check_line(path, line, first, n, err);
	}
	if (rc == 0 && ferror(f))
		rc = err_set(err, ERR_UNAVAILABLE, "%s: cannot be read", path);
	(void)fclose(f);
	return rc;
}

/* Two addresses for each; the first pair is nobody's. */
static int64_t
machines_in(const char *network)
{
	const char *slash = strchr(network, '/');
	long prefix = slash ? strtol(slash + 1, NULL, 10) : 32;
	int64_t n = prefix >= 0 && prefix < 32 ? (INT64_C(1) << (31 - prefix)) - 1 : 0;

	return n < LAUNCHER_SLOT_MAX ? n : LAUNCHER_SLOT_MAX;
}

int
subids_check_machines(const char *network, int64_t uid_base, struct err *err)
{
	int64_t first = uid_base + IDS_PER_MACHINE; /* slots count from 1 */
	int64_t n = machines_in(network) * IDS_PER_MACHINE;

	if (subids_check("/etc/subuid", first, n, err) < 0)
		return -1;
	return subids_check("/etc/subgid", first, n, err);
}
