/* SPDX-License-Identifier: Apache-2.0 */
#include "host/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"

int
identity_find(const char *user, struct identity *ret, struct err *err)
{
	const struct passwd *pw;

	if (geteuid() != 0) {
		*ret = (struct identity){geteuid(), getegid()};
		return 0;
	}
	pw = getpwnam(user);
	if (!pw && strcmp(user, "hearth") == 0) {
		pw = getpwnam("nobody");
		if (pw)
			log_warn("there is no user 'hearth': serving as 'nobody', which "
				 "others may use too; "
				 "'make install' makes the user");
	}
	if (!pw) {
		err_set(err, ERR_INVALID, "user: there is no user '%s'", user);
		return err_hint(
		    err, "make it, or name another as 'user' in the configuration");
	}
	if (pw->pw_uid == 0)
		return err_set(err, ERR_INVALID,
		    "user: '%s' is root: expected an unprivileged user", user);
	*ret = (struct identity){pw->pw_uid, pw->pw_gid};
	return 0;
}

/* Not all containers leave root this capability; without it only closed directories above
   the state are out of reach, and opening says so. */
static void
keep_search(void)
{
	static const cap_value_t search[] = {CAP_DAC_READ_SEARCH};
	cap_t caps = cap_get_proc();

	if (!caps)
		return;
	if (cap_clear_flag(caps, CAP_EFFECTIVE) == 0 &&
	    cap_set_flag(caps, CAP_EFFECTIVE, 1, search, CAP_SET) == 0 &&
	    cap_set_proc(caps) < 0)
		log_debug("cannot keep the capability to search directories: %s",
		    strerror(errno));
	cap_free(caps);
}

int
privilege_lower(const struct identity *id, struct err *err)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(id->gid, id->gid, id->gid) < 0)
		return err_errno(err, errno, "becoming group %u", (unsigned)id->gid);
	if (seteuid(id->uid) < 0)
		return err_errno(err, errno, "becoming user %u", (unsigned)id->uid);
	keep_search();
	return 0;
}

int
privilege_raise(struct err *err)
{
	if (getuid() == 0 && seteuid(0) < 0)
		return err_errno(err, errno, "becoming root again");
	return 0;
}

int
privilege_drop(const struct identity *id, struct err *err)
{
	if (getuid() == 0 && setresuid(id->uid, id->uid, id->uid) < 0)
		return err_errno(err, errno, "becoming user %u", (unsigned)id->uid);
	if (id->uid != 0 && seteuid(0) == 0)
		return err_set(err, ERR_INTERNAL, "the way back to root is still open");
	/* the CAs' keys are in memory: no core dump, no debugger of the same user */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_errno(err, errno, "closing the process to debuggers");
	return 0;
}

void
privilege_no_new(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		log_warn("cannot give up gaining privileges: %s", strerror(errno));
}

void
privilege_raise_files(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		(void)setrlimit(
		    RLIMIT_NOFILE, &lim); /* a lower bound only means fewer clients */
	}
}
