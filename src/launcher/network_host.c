/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host was like, in STATE/network.state: one fact a line, written whole before
 * the first change. Forwarding is the awkward one: turning net.ipv4.ip_forward on and off
 * again also changes every interface's own switch and whether redirects are accepted, so
 * those are remembered too. The facts die with the boot they were read in, as the changes
 * do.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "launcher/network.h"
#include "launcher/network_impl.h"

#define STATE_MAX (1u << 20)
#define SYSCTL_MAX 64
#define BOOT_MAX 40

static const char state_name[] = "network.state";
static const char state_first[] = "hearth network 1";
static const char ip_forward[] = "net/ipv4/ip_forward";
static const char conf[] = "net/ipv4/conf";

struct sysctl {
	char name[SYSCTL_MAX]; /* with slashes, below /proc/sys */
	char value[16];
};

struct host {
	bool is_found; /* there was a state file */
	char boot[BOOT_MAX];
	struct network network;
	struct sysctl *sysctls; /* owned; to be written back in this order */
	size_t n_sysctls;
	struct network_names closed;
	char chain[NETWORK_CHAIN_MAX];
};

static void
host_fini(struct host *h)
{
	free(h->sysctls);
	free(h->closed.names);
}

#define AUTO_HOST __attribute__((cleanup(host_fini)))

/* The first line of a small file, without its end. */
static int
read_line(const char *path, char *out, size_t size, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, out, size - 1);

	if (len < 0)
		return err_errno(err, errno, "reading %s", path);
	out[len] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

static void
sysctl_path(const char *name, char out[SYSCTL_MAX + 16])
{
	(void)snprintf(out, SYSCTL_MAX + 16, "/proc/sys/%s", name);
}

static int
sysctl_read(const char *name, char value[16], struct err *err)
{
	char path[SYSCTL_MAX + 16];

	sysctl_path(name, path);
	return read_line(path, value, 16, err);
}

/* Fine when the setting went away with its interface. */
static int
sysctl_write(const char *name, const char *value, struct err *err)
{
	char path[SYSCTL_MAX + 16];
	AUTO_CLOSE int fd = -1;

	sysctl_path(name, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		return err_errno(err, errno, "writing %s to %s", value, path);
	return 0;
}

static void
remember(struct host *h, const char *name, const char *value)
{
	struct sysctl *s;

	h->sysctls = xrealloc(h->sysctls, (h->n_sysctls + 1) * sizeof(*h->sysctls));
	s = &h->sysctls[h->n_sysctls++];
	(void)snprintf(s->name, sizeof(s->name), "%s", name);
	(void)snprintf(s->value, sizeof(s->value), "%s", value);
}

/* What a bridge carries between its own ports also passes the forward hook where
   br_netfilter is loaded, so a bridge is never closed. */
static bool
is_bridge(const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/class/net/%s/bridge", name);
	return access(path, F_OK) == 0;
}

static int
remember_interface(struct host *h, const char *name, struct err *err)
{
	char setting[SYSCTL_MAX], value[16];
	bool is_real = strcmp(name, "default") != 0 && strcmp(name, "lo") != 0;

	if (!network_name_is_plain(name) || strcmp(name, "all") == 0 ||
	    strncmp(name, NETWORK_PREFIX, strlen(NETWORK_PREFIX)) == 0)
		return 0;
	(void)snprintf(setting, sizeof(setting), "%s/%s/forwarding", conf, name);
	if (sysctl_read(setting, value, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1; /* gone since it was listed */
	if (strcmp(value, "0") != 0)
		remember(h, setting, value);
	else if (is_real && !is_bridge(name))
		network_names_add(&h->closed, name);
	return 0;
}

static int
remember_interfaces(struct host *h, struct err *err)
{
	DIR *dir = opendir("/proc/sys/net/ipv4/conf");
	struct dirent *entry;
	int rc = 0;

	if (!dir)
		return err_errno(err, errno, "listing /proc/sys/%s", conf);
	while (rc == 0 && (entry = readdir(dir)))
		rc = remember_interface(h, entry->d_name, err);
	closedir(dir);
	return rc;
}

static int
remember_forwarding(struct host *h, struct err *err)
{
	static const char redirects[] = "net/ipv4/conf/all/accept_redirects";
	char value[16];

	if (sysctl_read(ip_forward, value, err) < 0)
		return -1;
	if (strcmp(value, "0") != 0)
		return 0;
	remember(h, ip_forward, value);
	if (sysctl_read(redirects, value, err) < 0)
		return -1;
	remember(h, redirects, value);
	return remember_interfaces(h, err);
}

static int
take_fact(struct host *h, char *line, struct err *err)
{
	char *rest = strchr(line, ' ');
	char *value;

	if (!rest)
		return -1;
	*rest++ = '\0';
	if (strcmp(line, "boot") == 0 && strlen(rest) < sizeof(h->boot)) {
		strcpy(h->boot, rest);
	} else if (strcmp(line, "network") == 0) {
		return network_parse(rest, &h->network, err);
	} else if (strcmp(line, "closed") == 0 && network_name_is_plain(rest)) {
		network_names_add(&h->closed, rest);
	} else if (strcmp(line, "iptables") == 0 && strlen(rest) < sizeof(h->chain)) {
		strcpy(h->chain, rest);
	} else if (strcmp(line, "sysctl") == 0 && (value = strchr(rest, ' '))) {
		*value++ = '\0';
		if (strlen(rest) >= SYSCTL_MAX || strlen(value) >= 16 ||
		    strstr(rest, ".."))
			return -1;
		remember(h, rest, value);
	} else {
		return -1;
	}
	return 0;
}

static int
parse_state(struct host *h, char *text, const char *path, struct err *err)
{
	unsigned number = 1;
	char *next;

	for (char *line = text; *line; line = next, number++) {
		next = strchr(line, '\n');
		if (!next)
			break; /* reported below: written whole, or not by us */
		*next++ = '\0';
		if (number == 1 ? strcmp(line, state_first) != 0
				: take_fact(h, line, err) < 0)
			break;
		if (!*next && h->network.prefix && h->boot[0])
			return 0;
	}
	(void)err_set(
	    err, ERR_INTERNAL, "%s: line %u is not what hearth writes", path, number);
	return err_hint(err, "remove the file, and check net.ipv4.ip_forward yourself");
}

static int
host_load(struct host *h, const char *state_dir, struct err *err)
{
	AUTO_FREE char *path = xasprintf("%s/%s", state_dir, state_name);
	AUTO_FREE char *text = xmalloc(STATE_MAX + 1);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t len = 0;
	ssize_t got;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_errno(err, errno, "opening %s", path);
	while ((got = read(fd, text + len, STATE_MAX - len)) > 0)
		len += (size_t)got;
	if (got < 0)
		return err_errno(err, errno, "reading %s", path);
	text[len] = '\0';
	h->is_found = true;
	return parse_state(h, text, path, err);
}

static void
put_state(const struct host *h, struct buf *out)
{
	char text[NETWORK_TEXT_MAX];

	network_text(&h->network, text);
	buf_fmt(out, "%s\nboot %s\nnetwork %s\n", state_first, h->boot, text);
	for (size_t i = 0; i < h->n_sysctls; i++)
		buf_fmt(out, "sysctl %s %s\n", h->sysctls[i].name, h->sysctls[i].value);
	for (size_t i = 0; i < h->closed.n; i++)
		buf_fmt(out, "closed %s\n", h->closed.names[i]);
	if (h->chain[0])
		buf_fmt(out, "iptables %s\n", h->chain);
}

static int
sync_dir(const char *path, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return err_errno(err, errno, "fsync %s", path);
	return 0;
}

static int
host_save(const struct host *h, const char *state_dir, struct err *err)
{
	AUTO_FREE char *path = xasprintf("%s/%s", state_dir, state_name);
	AUTO_FREE char *temporary = xasprintf("%s/%s.new", state_dir, state_name);
	struct buf AUTO_BUF text = BUF_INIT(STATE_MAX);
	AUTO_CLOSE int fd = -1;

	put_state(h, &text);
	if (text.overflow)
		return err_set(err, ERR_TOO_LARGE, "%s: too many interfaces", path);
	(void)unlink(temporary); /* of a crash */
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, text.data, text.len) != (ssize_t)text.len ||
	    fsync(fd) < 0)
		return err_errno(err, errno, "writing %s", temporary);
	if (rename(temporary, path) < 0)
		return err_errno(err, errno, "renaming %s", temporary);
	return sync_dir(state_dir, err);
}

static int
read_boot(char boot[BOOT_MAX], struct err *err)
{
	return read_line("/proc/sys/kernel/random/boot_id", boot, BOOT_MAX, err);
}

/* Loads what is known of this boot and this network, and first ends what belongs to
 * another. */
static int
host_prepare(
    struct host *h, const struct network *n, const char *state_dir, struct err *err)
{
	char boot[BOOT_MAX], old[NETWORK_TEXT_MAX];
	bool in_use;

	if (read_boot(boot, err) < 0 || host_load(h, state_dir, err) < 0)
		return -1;
	if (h->is_found && strcmp(h->boot, boot) == 0 &&
	    (h->network.address != n->address || h->network.prefix != n->prefix)) {
		network_text(&h->network, old);
		if (network_links_exist(&h->network, &in_use, err) < 0)
			return -1;
		if (in_use) {
			(void)err_set(err, ERR_CONFLICT,
			    "network: machines are still running in %s", old);
			return err_hint(err, "end them first, or keep that network");
		}
		if (network_host_teardown(state_dir, err) < 0)
			return -1;
		h->boot[0] = '\0';
	}
	if (strcmp(h->boot, boot) != 0) {
		host_fini(h);
		*h = (struct host){.network = *n};
		strcpy(h->boot, boot);
	}
	return 0;
}

int
network_host_setup(const struct network *n, const char *state_dir, struct err *err)
{
	struct host AUTO_HOST h = {0};

	if (network_check_overlap(n, err) < 0 || host_prepare(&h, n, state_dir, err) < 0)
		return -1;
	if (h.n_sysctls == 0 && remember_forwarding(&h, err) < 0)
		return -1;
	if (!h.chain[0] && network_firewall_foreign(h.chain, err) < 0)
		return -1;
	if (host_save(&h, state_dir, err) < 0)
		return -1;
	/* The rules first: the host must never forward without them. */
	if (network_firewall_install(n, &h.closed, err) < 0 ||
	    network_route_add(n, err) < 0)
		return -1;
	if (h.chain[0] && network_firewall_let_through(n, h.chain, true, err) < 0)
		return -1;
	return sysctl_write(ip_forward, "1", err);
}

static int
restore_sysctls(const struct host *h, struct err *err)
{
	char boot[BOOT_MAX];
	bool others;

	if (h->n_sysctls == 0)
		return 0;
	if (read_boot(boot, err) < 0 ||
	    network_firewall_others(&h->network, &others, err) < 0)
		return -1;
	if (strcmp(boot, h->boot) != 0)
		return 0;
	if (others) {
		log_warn("another hearth on this host needs forwarding: it stays on");
		return 0;
	}
	for (size_t i = 0; i < h->n_sysctls; i++)
		if (sysctl_write(h->sysctls[i].name, h->sysctls[i].value, err) < 0)
			return -1;
	return 0;
}

int
network_host_teardown(const char *state_dir, struct err *err)
{
	AUTO_FREE char *path = xasprintf("%s/%s", state_dir, state_name);
	AUTO_FREE char *temporary = xasprintf("%s/%s.new", state_dir, state_name);
	struct host AUTO_HOST h = {0};

	(void)unlink(temporary);
	if (host_load(&h, state_dir, err) < 0)
		return -1;
	if (!h.is_found)
		return 0;
	if (network_links_delete(&h.network, err) < 0 || restore_sysctls(&h, err) < 0)
		return -1;
	if (h.chain[0] &&
	    network_firewall_let_through(&h.network, h.chain, false, err) < 0)
		return -1;
	if (network_firewall_remove(&h.network, err) < 0 ||
	    network_route_delete(&h.network, err) < 0)
		return -1;
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(err, errno, "removing %s", path);
	return sync_dir(state_dir, err);
}
