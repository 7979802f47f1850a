/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "cli/files.h"

void
key_fini(struct key *k)
{
	free(k->line);
	free(k->identity);
	*k = (struct key){0};
}

static bool
is_private(const char *text)
{
	return strstr(text, "PRIVATE KEY-----") ||
	       strncmp(text, "PuTTY-User-Key-File", 19) == 0;
}

/* The text of a public key file, one line. */
static int
read_public(const char *path, char **ret, struct err *err)
{
	AUTO_FREE char *text = NULL;
	size_t n;

	if (files_read(path, KEY_FILE_MAX, &text, &n, err) < 0)
		return -1;
	if (is_private(text)) {
		err_set(err, ERR_INVALID, "%s is a private key, and was not sent", path);
		return err_hint(err, "give the public one, %s.pub", path);
	}
	while (n > 0 && strchr(" \t\r\n", text[n - 1]))
		text[--n] = '\0';
	if (strlen(text) != n || strpbrk(text, "\r\n"))
		return err_set(
		    err, ERR_INVALID, "%s is not a public key of one line", path);
	if (n == 0)
		return err_set(err, ERR_INVALID, "%s is empty", path);
	*ret = TAKE(text);
	return 0;
}

static bool
is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* "x.pub" → "x", when there is such a file. Owned, or NULL. */
static char *
private_of(const char *path)
{
	size_t n = strlen(path);
	char *p;

	if (n < 5 || strcmp(path + n - 4, ".pub") != 0)
		return NULL;
	p = xstrndup(path, n - 4);
	if (!is_file(p)) {
		free(p);
		return NULL;
	}
	return p;
}

int
key_from_file(const char *path, struct key *ret, struct err *err)
{
	AUTO_FREE char *line = NULL;
	AUTO_FREE char *real = NULL;

	if (read_public(path, &line, err) < 0) {
		if (err->code == ERR_NOT_FOUND || err->code == ERR_INTERNAL)
			err->code = ERR_INVALID; /* an option's value was wrong */
		return -1;
	}
	*ret = (struct key){.line = TAKE(line)};
	if (is_file(path)) { /* not a pipe, as from <(…) of a shell */
		char *identity = private_of(path);

		real = identity ? identity : xstrdup(path);
		ret->identity = realpath(real, NULL);
	}
	return 0;
}

/* `agent`: a key whose private half is not on disk will do, since an agent may hold it.
 */
static int
key_from_home(bool agent, struct key *ret)
{
	static const char *const names[] = {
	    "id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"};
	AUTO_FREE char *home = files_home();
	struct err ignored;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		AUTO_FREE char *identity = xasprintf("%s/.ssh/%s", home, names[i]);
		AUTO_FREE char *public = xasprintf("%s.pub", identity);
		bool have = is_file(identity);

		if (have == agent || read_public(public, &ret->line, &ignored) < 0)
			continue;
		ret->identity = agent ? TAKE(public) : TAKE(identity);
		return 0;
	}
	return -1;
}

static int
run_keygen(const char *file, struct err *err)
{
	extern char **environ;
	char *argv[] = {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "hearth",
	    "-f", (char *)file, NULL};
	posix_spawn_file_actions_t io;
	pid_t pid;
	int status;
	int r;

	posix_spawn_file_actions_init(&io);
	posix_spawn_file_actions_addopen(&io, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&io, 1, "/dev/null", O_WRONLY, 0);
	r = posix_spawnp(&pid, argv[0], &io, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&io);
	if (r != 0)
		return err_errno(err, r, "make a key with ssh-keygen");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(err, errno, "wait for ssh-keygen");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		err_set(err, ERR_INTERNAL, "ssh-keygen could not make a key in %s", file);
		return err_hint(err, "give one of your own with --key");
	}
	return 0;
}

/* Two commands started together make one key: whoever comes second finds it made. */
static int
make_key(const char *dir, const char *identity, const char *public, struct err *err)
{
	AUTO_CLOSE int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *tmp = xasprintf("%s/.key-%d", dir, (int)getpid());
	AUTO_FREE char *tmp_public = xasprintf("%s.pub", tmp);

	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_errno(err, errno, "lock %s", dir);
	if (is_file(identity) && is_file(public))
		return 0;
	(void)unlink(tmp);
	if (run_keygen(tmp, err) < 0) {
		(void)unlink(tmp);
		(void)unlink(tmp_public);
		return -1;
	}
	if (rename(tmp_public, public) < 0 || rename(tmp, identity) < 0) {
		int e = errno;

		(void)unlink(tmp);
		(void)unlink(tmp_public);
		return err_errno(err, e, "keep the new key as %s", identity);
	}
	return 0;
}

int
key_default(const char *state_dir, struct key *ret, struct err *err)
{
	AUTO_FREE char *identity = NULL;
	AUTO_FREE char *public = NULL;
	struct key k = {0};

	if (key_from_home(false, &k) == 0 ||
	    (getenv("SSH_AUTH_SOCK") && key_from_home(true, &k) == 0)) {
		*ret = k;
		return 0;
	}
	identity = xasprintf("%s/id_ed25519", state_dir);
	public = xasprintf("%s.pub", identity);
	if ((!is_file(identity) || !is_file(public)) &&
	    make_key(state_dir, identity, public, err) < 0)
		return -1;
	if (read_public(public, &k.line, err) < 0)
		return -1;
	k.identity = TAKE(identity);
	*ret = k;
	return 0;
}
