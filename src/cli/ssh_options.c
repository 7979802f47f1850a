/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/ssh_options.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "cli/text.h"

char *
ssh_cert_path(const char *dir, int i)
{
	if (i == 0)
		return xasprintf("%s/key-cert.pub", dir);
	return xasprintf("%s/key-cert-%d.pub", dir, i + 1);
}

void
ssh_options_fini(struct ssh_options *o)
{
	for (int i = 0; i < o->n; i++)
		free(o->opt[i].value);
	o->n = 0;
}

static void
add(struct ssh_options *o, const char *key, const char *value)
{
	o->opt[o->n].key = key;
	o->opt[o->n++].value = xstrdup(value);
}

static int
add_path(struct ssh_options *o, const char *key, const char *path, struct err *err)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	if (text_ssh(&b, path, err) < 0)
		return err_wrap(err, "%.200s", path);
	add(o, key, b.data);
	return 0;
}

static int
add_all(const struct saved *s, struct ssh_options *o, struct err *err)
{
	AUTO_FREE char *known_hosts = xasprintf("%s/known_hosts", s->dir);

	if (s->identity) {
		if (add_path(o, "IdentityFile", s->identity, err) < 0)
			return -1;
		add(o, "IdentitiesOnly", "yes");
	}
	for (int i = 0; i < s->n_certs; i++) {
		AUTO_FREE char *path = ssh_cert_path(s->dir, i);

		if (add_path(o, "CertificateFile", path, err) < 0)
			return -1;
	}
	if (add_path(o, "UserKnownHostsFile", known_hosts, err) < 0)
		return -1;
	add(o, "GlobalKnownHostsFile", "/dev/null");
	add(o, "StrictHostKeyChecking", "yes");
	add(o, "HostKeyAlias", s->machine);
	if (s->host_ca) /* else ssh could be shown a plain key, and would refuse it */
		add(o, "HostKeyAlgorithms", "ssh-ed25519-cert-v01@openssh.com");
	add(o, "UpdateHostKeys", "no"); /* the known_hosts file is ours to write */
	return 0;
}

int
ssh_options(const struct saved *s, struct ssh_options *ret, struct err *err)
{
	ret->n = 0;
	if (add_all(s, ret, err) == 0)
		return 0;
	ssh_options_fini(ret);
	return -1;
}

int
ssh_command_line(const struct saved *s, struct buf *ret, struct err *err)
{
	char **argv;
	int n;

	if (saved_argv(s, 0, &argv, &n, err) < 0)
		return -1;
	for (int i = 0; i < n; i++) {
		if (i > 0)
			buf_char(ret, ' ');
		text_sh(ret, argv[i]);
		free(argv[i]);
	}
	free(argv);
	return 0;
}

int
ssh_config_fragment(const struct saved *s, struct buf *ret, struct err *err)
{
	struct ssh_options o;

	if (ssh_options(s, &o, err) < 0)
		return -1;
	buf_fmt(ret, "Host %s.hearth %s.hearth\n\tHostName %s\n\tPort %d\n\tUser %s\n",
	    s->name, s->id, s->host, s->port, s->login);
	for (int i = 0; i < o.n; i++)
		buf_fmt(ret, "\t%s %s\n", o.opt[i].key, o.opt[i].value);
	ssh_options_fini(&o);
	return 0;
}

/* Escapes twice: for glob(3), which is given the name, and for the configuration's quotes. */
int
ssh_include_line(struct buf *b, const char *path, const char *pattern, struct err *err)
{
	if (strpbrk(path, "\r\n"))
		return err_set(err, ERR_INVALID,
		    "ssh's configuration cannot include a path with a line break");
	buf_str(b, "Include \"");
	for (; *path; path++) {
		if (strchr("*?[]", *path))
			buf_str(b, "\\\\");
		else if (*path == '\\')
			buf_str(b, "\\\\\\");
		else if (*path == '"')
			buf_char(b, '\\');
		buf_char(b, *path);
	}
	buf_fmt(b, "%s\"", pattern);
	return 0;
}
