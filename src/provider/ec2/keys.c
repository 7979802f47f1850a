/* SPDX-License-Identifier: Apache-2.0 */

/* The keys of machines on their way: what each is to be given, the host key that a launch shares until then, and whose
   certificates are trusted after. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "provider/ec2/internal.h"
#include "ssh/cert.h"
#include "ssh/hostkey.h"

struct ec2_keys *
ec2_keys_new(const struct launch_spec *spec)
{
	struct ec2_keys *k = xnew(struct ec2_keys);

	k->host_key = xstrdup(spec->host_key ? spec->host_key : "");
	k->host_cert = xstrdup(spec->host_cert ? spec->host_cert : "");
	k->hostname = xstrdup(spec->hostname ? spec->hostname : spec->token);
	k->lease_s = spec->lease_s;
	return k;
}

void
ec2_keys_free(struct ec2_keys *k)
{
	if (!k)
		return;
	explicit_bzero(k->host_key, strlen(k->host_key));
	free(k->host_key);
	free(k->host_cert);
	free(k->hostname);
	free(k);
}

void
ec2_first_unref(struct ec2_machine *m)
{
	struct ec2_first *f = m->first;

	m->first = NULL;
	if (!f || --f->refs > 0)
		return;
	(void)unlink(f->known_hosts);
	free(f->known_hosts);
	free(f);
}

static int
write_line(const char *path, int flags, const char *line, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
	size_t n = strlen(line);

	if (fd < 0 || write(fd, line, n) != (ssize_t)n)
		return err_errno(err, fd < 0 ? errno : EIO, "%s", path);
	return 0;
}

/* The line is small, the file one of a few, and a new CA rare: read it each time. */
static bool
has_line(const char *path, const char *line)
{
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t cap = 0;
	bool found = false;

	while (f && !found && getline(&text, &cap, f) > 0)
		found = strcmp(text, line) == 0;
	free(text);
	return found;
}

int
ec2_trust_host_ca(struct ec2 *e, const char *host_cert, struct err *err)
{
	AUTO_CERT struct ssh_cert cert = {0};
	AUTO_FREE char *ca = NULL, *line = NULL;

	if (ssh_cert_parse(host_cert, strlen(host_cert), &cert, err) < 0)
		return err_wrap(err, "host certificate");
	ca = ssh_pubkey_line(&cert.ca);
	line = xasprintf("@cert-authority * %s\n", ca);
	if (has_line(e->known_hosts, line))
		return 0;
	return write_line(e->known_hosts, O_APPEND, line, err);
}

int
ec2_first_new(struct ec2 *e, const struct ssh_hostkey *key, const char *name,
    struct ec2_first **ret, struct err *err)
{
	AUTO_FREE char *path = xasprintf("%s/first/%.32s", e->dir, name);
	AUTO_FREE char *public = ssh_pubkey_line(&key->pub);
	AUTO_FREE char *line = xasprintf("%s %s\n", "hearth-first", public);

	if (write_line(path, O_TRUNC, line, err) < 0)
		return -1;
	*ret = xnew(struct ec2_first);
	(*ret)->known_hosts = TAKE(path);
	return 0;
}
