/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signer by itself, for tests that put its certificates in front of a real sshd and
 * ssh:
 *
 *   certtool ca FILE                          makes or opens a CA, prints its public line
 *   certtool known-hosts FILE PATTERN         prints the @cert-authority line
 *   certtool hostkey FILE                     writes FILE and FILE.pub
 *   certtool sign FILE user|host KEY.pub KEY-ID SERIAL AFTER BEFORE PRINCIPALS [COMMAND]
 *                                             prints the certificate; PRINCIPALS has
 * commas between certtool show CERT.pub                    prints what we read in it, one
 * `name value` a line
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ssh/ca.h"
#include "ssh/hostkey.h"

static int
slurp(const char *path, struct buf *out, struct err *err)
{
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	char chunk[4096];
	size_t n;

	if (!f)
		return err_errno(err, errno, "%s", path);
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		buf_add(out, chunk, n);
	return 0;
}

static int
spill(const char *path, int mode, const char *text, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return err_errno(err, errno, "%s", path);
	return 0;
}

static int
cmd_ca(struct ssh_ca *ca, char **args, struct err *err)
{
	AUTO_FREE char *line = ssh_ca_public_line(ca);

	puts(line);
	return 0;
}

static int
cmd_known_hosts(struct ssh_ca *ca, char **args, struct err *err)
{
	AUTO_FREE char *line = ssh_ca_known_hosts_line(ca, args[0]);

	puts(line);
	return 0;
}

static int
cmd_sign(struct ssh_ca *ca, char **args, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(1 << 20);
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	AUTO_FREE char *line = NULL;
	const char *principals[SSH_CERT_PRINCIPALS_MAX];
	bool user = strcmp(args[0], "user") == 0;
	struct ssh_cert_spec spec = {.kind = user ? SSH_CERT_USER : SSH_CERT_HOST,
	    .key_id = args[2],
	    .serial = strtoull(args[3], NULL, 10),
	    .valid_after = strtoull(args[4], NULL, 10),
	    .valid_before = strtoull(args[5], NULL, 10),
	    .principals = principals,
	    .force_command = args[7],
	    .permit = user ? SSH_PERMIT_ALL : 0};

	for (char *p = args[6]; p && spec.principals_n < SSH_CERT_PRINCIPALS_MAX;
	     spec.principals_n++)
		principals[spec.principals_n] = strsep(&p, ",");
	if (slurp(args[1], &text, err) < 0 ||
	    ssh_pubkey_parse(text.data, text.len, &key, err) < 0 ||
	    ssh_ca_sign(ca, &key, &spec, &line, err) < 0)
		return -1;
	puts(line);
	return 0;
}

static int
cmd_hostkey(struct ssh_ca *ca, char **args, struct err *err)
{
	AUTO_FREE char *pub = xasprintf("%s.pub", args[0]), *line = NULL;
	struct ssh_hostkey key;
	int rc;

	if (ssh_hostkey_generate("test", &key, err) < 0)
		return -1;
	line = ssh_pubkey_line(&key.pub);
	rc = spill(args[0], 0600, key.text.data, err);
	if (rc == 0)
		rc = spill(pub, 0644, line, err);
	ssh_hostkey_fini(&key);
	return rc;
}

static int
cmd_show(struct ssh_ca *ca, char **args, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(1 << 20);
	AUTO_CERT struct ssh_cert cert = {0};

	if (slurp(args[0], &text, err) < 0 ||
	    ssh_cert_parse(text.data ? text.data : "", text.len, &cert, err) < 0 ||
	    ssh_cert_verify(&cert, &cert.ca, err) < 0)
		return -1;
	printf("type %s\nserial %" PRIu64 "\nkey_id %s\n", cert.type, cert.serial,
	    cert.key_id);
	printf("after %" PRIu64 "\nbefore %" PRIu64 "\n", cert.valid_after,
	    cert.valid_before);
	for (size_t i = 0; i < cert.principals_n; i++)
		printf("principal %s\n", cert.principals[i]);
	return 0;
}

/* clang-format off */
static const struct command {
	const char *name;
	int (*run)(struct ssh_ca *ca, char **args, struct err *err);
	bool ca; /* the first argument is the CA's file */
	int min_args; /* after that */
} commands[] = {
	{ "ca",          cmd_ca,          true,  0 },
	{ "known-hosts", cmd_known_hosts, true,  1 },
	{ "sign",        cmd_sign,        true,  7 },
	{ "hostkey",     cmd_hostkey,     false, 1 },
	{ "show",        cmd_show,        false, 1 },
};
/* clang-format on */

static int
open_ca(char *path, struct ssh_ca **ret_ca, struct err *err)
{
	char *slash = strrchr(path, '/');
	AUTO_CLOSE int dirfd = -1;

	if (slash)
		*slash = '\0';
	dirfd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_errno(err, errno, "%s", path);
	return ssh_ca_load_or_create(dirfd, slash ? slash + 1 : path, ret_ca, err);
}

static int
run(const struct command *c, char **args, struct err *err)
{
	struct ssh_ca *ca = NULL;
	int rc;

	if (c->ca && open_ca(args[0], &ca, err) < 0)
		return -1;
	rc = c->run(ca, args + c->ca, err);
	ssh_ca_free(ca);
	return rc;
}

int
main(int argc, char **argv)
{
	struct err err;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *c = &commands[i];

		if (argc < 2 || strcmp(argv[1], c->name) != 0 ||
		    argc - 2 < c->min_args + c->ca)
			continue;
		if (run(c, argv + 2, &err) == 0)
			return 0;
		fprintf(stderr, "certtool: %s\n", err.msg);
		return 1;
	}
	fprintf(stderr, "certtool: wrong usage; see the top of certtool.c\n");
	return 2;
}
