/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "launcher/network_impl.h"

#define OUTPUT_MAX (4u << 20) /* of nft: hosts with many containers have many chains */
#define TABLE_PREFIX "hearth-"

static const char *const nft_paths[] = {
    "/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", NULL};
static const char *const iptables_paths[] = {
    "/usr/sbin/iptables", "/sbin/iptables", NULL};

static const char *
find_program(const char *const *paths)
{
	for (; *paths; paths++)
		if (access(*paths, X_OK) == 0)
			return *paths;
	return NULL;
}

static void
exec_program(const char *path, char *const argv[], int in, int out, pid_t parent)
{
	char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};

	/* Cut off with us: what it was told might be undone by the next run before it
	 * gets there. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || dup2(in, 0) < 0 || dup2(out, 1) < 0 ||
	    dup2(out, 2) < 0)
		_exit(127);
	(void)close_range(3, ~0U, 0);
	execve(path, argv, env);
	_exit(127);
}

static void
read_back(int fd, struct buf *out)
{
	char part[4096];
	ssize_t got;
	off_t at = 0;

	while ((got = pread(fd, part, sizeof(part), at)) > 0) {
		buf_add(out, part, (size_t)got);
		at += got;
	}
}

/* Runs a program on `input`; both of its outputs end up in `out`. Files in memory instead
   of pipes: neither side can ever wait for the other. 0 or its exit status; -1 when it
   could not be run. */
static int
run_program(const char *path, char *const argv[], const struct buf *input,
    struct buf *out, struct err *err)
{
	AUTO_CLOSE int in_fd = memfd_create("input", MFD_CLOEXEC);
	AUTO_CLOSE int out_fd = memfd_create("output", MFD_CLOEXEC);
	int status;
	pid_t parent = getpid(), pid;

	if (in_fd < 0 || out_fd < 0)
		return err_errno(err, errno, "memfd");
	if (input && write(in_fd, input->data, input->len) != (ssize_t)input->len)
		return err_errno(err, errno, "writing the input of %s", path);
	(void)lseek(in_fd, 0, SEEK_SET);
	pid = fork();
	if (pid < 0)
		return err_errno(err, errno, "fork");
	if (pid == 0)
		exec_program(path, argv, in_fd, out_fd, parent);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(err, errno, "waiting for %s", path);
	read_back(out_fd, out);
	if (!WIFEXITED(status))
		return err_set(err, ERR_INTERNAL, "%s was killed by signal %d", path,
		    WTERMSIG(status));
	return WEXITSTATUS(status);
}

static int
run_nft(char *const argv[], const struct buf *input, struct buf *out, struct err *err)
{
	const char *path = find_program(nft_paths);
	int rc;

	if (!path) {
		(void)err_set(err, ERR_UNAVAILABLE, "firewall: nft is not installed");
		return err_hint(err, "install the package nftables");
	}
	rc = run_program(path, argv, input, out, err);
	if (rc > 0) {
		char *newline = out->data ? strchr(out->data, '\n') : NULL;

		if (newline)
			*newline =
			    '\0'; /* the first line says what, the others draw it */
		return err_set(err, ERR_INTERNAL, "firewall: nft: %s",
		    out->data ? out->data : "failed");
	}
	return rc;
}

static int
apply(const struct buf *rules, struct err *err)
{
	char *const argv[] = {"nft", "-f", "-", NULL};
	struct buf AUTO_BUF out = BUF_INIT(OUTPUT_MAX);

	return run_nft(argv, rules, &out, err);
}

static void
table_name(const struct network *n, char out[32])
{
	memcpy(out, TABLE_PREFIX, sizeof(TABLE_PREFIX));
	network_dotted(n->address, out + strlen(TABLE_PREFIX));
}

static void
put_delete(const struct network *n, struct buf *rules)
{
	char table[32];

	table_name(n, table);
	/* The first line makes the second work when there is no table. */
	buf_fmt(rules, "table inet %s\ndelete table inet %s\n", table, table);
}

static void
put_names(const char *set, const struct network_names *l, struct buf *rules)
{
	if (!l->n)
		return;
	buf_fmt(rules, "set %s { type ifname; elements = {", set);
	for (size_t i = 0; i < l->n; i++)
		buf_fmt(rules, " \"%s\",", l->names[i]);
	buf_str(rules, " }\n}\n");
}

static void
put_resolvers(const struct network *n, const struct network_dns *dns, struct buf *rules)
{
	char text[NETWORK_TEXT_MAX];

	buf_str(rules, "set resolvers { type ipv4_addr; flags interval; elements = {");
	for (unsigned i = 0; i < dns->n_servers; i++) {
		network_dotted(dns->servers[i], text);
		buf_fmt(rules, " %s,", text);
	}
	network_text(n, text);
	buf_fmt(rules, "%s }\n}\n", dns->n_servers ? "" : text);
}

/*
 * All that a machine sends passes here, before routing decides whether it is for the host
 * or to be forwarded and before anybody's destination NAT, so a port that some other
 * program publishes on the host by NAT is as closed as one it listens on. `fib saddr .
 * iif` takes the way back: only a machine's own address leads back through its own
 * interface.
 */
static void
put_from_machine(const struct network *n, struct buf *rules)
{
	buf_fmt(rules,
	    "chain spoofed { type filter hook prerouting priority raw; policy accept;\n"
	    "iifgroup != %u accept\n"
	    "meta nfproto ipv6 drop\n"
	    "fib saddr . iif oif 0 drop\n"
	    "}\n",
	    n->address);
	buf_fmt(rules,
	    "chain from_machine { type filter hook prerouting priority mangle; policy "
	    "accept;\n"
	    "iifgroup != %u accept\n"
	    "ct state established accept\n"
	    "ct state related meta l4proto icmp accept\n"
	    "ct state invalid drop\n"
	    "meta l4proto { tcp, udp } th dport 53 ip daddr @resolvers accept\n"
	    "ip daddr 169.254.0.0/16 reject with icmp admin-prohibited\n"
	    "fib daddr type local reject with icmp admin-prohibited\n"
	    "fib daddr type { broadcast, anycast, multicast } drop\n"
	    "}\n",
	    n->address);
}

/* Where DNS goes through the gateway, whatever of the network is the host's leads to the
 * resolver. */
static void
put_dns(const struct network *n, const struct network_dns *dns, struct buf *rules)
{
	char loopback[NETWORK_ADDRESS_MAX], text[NETWORK_TEXT_MAX];

	if (dns->n_servers)
		return;
	network_text(n, text);
	network_dotted(dns->loopback, loopback);
	buf_fmt(rules,
	    "chain dns_in { type nat hook prerouting priority dstnat; policy accept;\n"
	    "iifgroup %u ip daddr %s fib daddr type local meta l4proto { tcp, udp }"
	    " th dport 53 dnat ip to %s\n"
	    "}\n"
	    /* Resolvers on loopback answer loopback only. */
	    "chain dns_from { type nat hook input priority 100; policy accept;\n"
	    "iifgroup %u ip daddr %s meta l4proto { tcp, udp } th dport 53"
	    " snat ip to 127.0.0.1\n"
	    "}\n",
	    n->address, text, loopback, n->address, loopback);
}

/* Who is of which gang: by addresses, which `spoofed` lets nobody else send from. The mark serves as a variable, for
   packets alone that are let through or refused here and now. */
static void
put_gang(struct buf *rules)
{
	buf_str(rules, "map gangs { type ipv4_addr : mark; }\n"
		       "set gang_members { type ipv4_addr . mark; }\n"
		       "chain gang {\n"
		       "meta mark set 0\n"
		       "meta mark set ip saddr map @gangs\n"
		       "meta mark != 0 ip daddr . meta mark @gang_members accept\n"
		       "}\n");
}

/* Behind a bridge of the host are its own containers and guests, unless the bridge is its
   way out. To a machine goes what the host itself sends (output has no chain here) and
   what answers. The host stays no router for what comes in where it was none before
   hearth turned forwarding on, but for ports that are published by NAT. */
static void
put_forward(const struct network *n, const struct network_names *closed,
    const struct network_names *uplinks, struct buf *rules)
{
	char text[NETWORK_TEXT_MAX];

	network_text(n, text);
	buf_str(rules,
	    "chain forward { type filter hook forward priority filter; policy accept;\n");
	buf_fmt(rules, "iifgroup %u goto out_of_machine\n", n->address);
	buf_fmt(rules, "oifgroup %u ct state established,related accept\n", n->address);
	buf_fmt(rules, "oifgroup %u drop\n", n->address);
	if (closed->n)
		buf_str(
		    rules, "iifname @closed ct state new ct status & dnat == 0 drop\n");
	buf_fmt(rules,
	    "}\n"
	    "chain out_of_machine {\n"
	    "oifgroup %u jump gang\n"
	    "oifgroup %u reject with icmp admin-prohibited\n"
	    "meta oifkind \"bridge\" %s reject with icmp admin-prohibited\n"
	    "tcp flags syn tcp option maxseg size set rt mtu\n"
	    "}\n"
	    "chain to_outside { type nat hook postrouting priority srcnat; policy "
	    "accept;\n"
	    "ip saddr %s oifgroup != %u masquerade\n"
	    "}\n",
	    n->address, n->address, uplinks->n ? "oifname != @uplinks" : "", text,
	    n->address);
}

int
network_firewall_install(
    const struct network *n, const struct network_names *closed, struct err *err)
{
	struct buf AUTO_BUF rules = BUF_INIT(0);
	struct network_names uplinks = {0};
	struct network_dns dns;
	char table[32];
	int rc = network_uplinks(&uplinks, err);

	network_dns_read(&dns);
	table_name(n, table);
	put_delete(n, &rules);
	buf_fmt(&rules, "table inet %s {\n", table);
	put_resolvers(n, &dns, &rules);
	put_names("closed", closed, &rules);
	put_names("uplinks", &uplinks, &rules);
	put_dns(n, &dns, &rules);
	put_from_machine(n, &rules);
	put_gang(&rules);
	put_forward(n, closed, &uplinks, &rules);
	buf_str(&rules, "}\n");
	if (rc == 0)
		rc = apply(&rules, err);
	free(uplinks.names);
	return rc;
}

int
network_firewall_remove(const struct network *n, struct err *err)
{
	struct buf AUTO_BUF rules = BUF_INIT(0);

	put_delete(n, &rules);
	return apply(&rules, err);
}

int
network_gang(
    const struct network *n, uint32_t slot, uint32_t number, bool in, struct err *err)
{
	struct buf AUTO_BUF rules = BUF_INIT(0);
	static const char *const verbs[] = {"add", "delete"};
	char table[32], address[NETWORK_ADDRESS_MAX];

	table_name(n, table);
	network_address(n, slot, address);
	/* added before it is deleted: to delete what is not there is an error */
	for (int i = 0; i < (in ? 1 : 2); i++)
		buf_fmt(&rules,
		    "%s element inet %s gangs { %s : %u }\n"
		    "%s element inet %s gang_members { %s . %u }\n",
		    verbs[i], table, address, number, verbs[i], table, address, number);
	if (apply(&rules, err) == 0)
		return 0;
	return !in && strstr(err->msg, "No such file or directory") ? 0 : -1;
}

int
network_firewall_redirect(const char *address, unsigned port, struct err *err)
{
	struct buf AUTO_BUF rules = BUF_INIT(0);

	buf_fmt(&rules,
	    "table ip metadata\ndelete table ip metadata\n"
	    "table ip metadata {\n"
	    "chain to_service { type nat hook output priority -100; policy accept;\n"
	    "ip daddr %s tcp dport 80 dnat to %s:%u\n"
	    "}\n}\n",
	    address, address, port);
	return apply(&rules, err);
}

int
network_firewall_others(const struct network *n, bool *ret_others, struct err *err)
{
	char *const argv[] = {"nft", "list", "tables", "inet", NULL};
	struct buf AUTO_BUF out = BUF_INIT(OUTPUT_MAX);
	static const char start[] = "table inet " TABLE_PREFIX;
	char own[64] = "table inet ";
	bool others = false;

	table_name(n, own + strlen(own));
	if (run_nft(argv, NULL, &out, err) < 0)
		return -1;
	for (char *line = out.data, *next; line; line = next) {
		if ((next = strchr(line, '\n')))
			*next++ = '\0';
		if (strncmp(line, start, strlen(start)) == 0 && strcmp(line, own) != 0)
			others = true;
	}
	*ret_others = others;
	return 0;
}

/* What `nft list chains` says of chains that drop by default where packets are forwarded.
 */
struct foreign {
	char table[64];
	char chain[64];
	bool iptables_drops;
	bool docker_user;
};

static bool
quoted(const char *line, const char *start, char out[64])
{
	const char *p = line + strspn(line, "\t ");
	size_t n = strlen(start), len;

	if (strncmp(p, start, n) != 0)
		return false;
	p += n;
	len = strcspn(p, "{");
	while (len && p[len - 1] == ' ')
		len--;
	if (len >= 64)
		len = 63;
	memcpy(out, p, len);
	out[len] = '\0';
	return true;
}

static void
note_line(struct foreign *f, const char *line)
{
	if (quoted(line, "table ", f->table)) {
		if (strcmp(f->table, "inet firewalld") == 0)
			log_warn("firewalld may stop the machines' traffic; add their "
				 "network to "
				 "its trusted zone");
		return;
	}
	if (quoted(line, "chain ", f->chain)) {
		if (strcmp(f->table, "ip filter") == 0 &&
		    strcmp(f->chain, "DOCKER-USER") == 0)
			f->docker_user = true;
		return;
	}
	if (!strstr(line, "hook forward ") || !strstr(line, "policy drop;"))
		return;
	if (strcmp(f->table, "ip filter") == 0)
		f->iptables_drops = true;
	else if (strncmp(f->table, "ip6 ", 4) != 0)
		log_warn(
		    "table %s chain %s drops what is forwarded; accept the machines' "
		    "network there",
		    f->table, f->chain);
}

/* The old iptables is a firewall of its own that nft does not list. Asking it would load
   it, so ask only where it is in use. */
static void
note_legacy(void)
{
	char names[256];
	AUTO_CLOSE int fd = open("/proc/net/ip_tables_names", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, names, sizeof(names) - 1);

	if (len <= 0)
		return;
	names[len] = '\0';
	if (strstr(names, "filter\n"))
		log_warn("iptables-legacy is in use: if it drops what is forwarded, "
			 "accept the "
			 "machines' network there");
}

int
network_firewall_foreign(char ret_chain[NETWORK_CHAIN_MAX], struct err *err)
{
	char *const argv[] = {"nft", "list", "chains", NULL};
	struct buf AUTO_BUF out = BUF_INIT(OUTPUT_MAX);
	struct foreign f = {0};

	if (run_nft(argv, NULL, &out, err) < 0)
		return -1;
	for (char *line = out.data, *next; line; line = next) {
		if ((next = strchr(line, '\n')))
			*next++ = '\0';
		note_line(&f, line);
	}
	note_legacy();
	strcpy(ret_chain, !f.iptables_drops ? ""
			  : f.docker_user   ? "DOCKER-USER"
					    : "FORWARD");
	return 0;
}

/* `op` is -C, -I or -D, for the rule of one direction. */
static int
run_iptables(const char *path, const char *op, const char *chain, const char *network,
    bool outward, struct err *err)
{
	struct buf AUTO_BUF out = BUF_INIT(OUTPUT_MAX);
	char *const outward_argv[] = {"iptables", "-w", (char *)op, (char *)chain, "-s",
	    (char *)network, "-m", "comment", "--comment", "hearth", "-j", "ACCEPT",
	    NULL};
	char *const inward_argv[] = {"iptables", "-w", (char *)op, (char *)chain, "-d",
	    (char *)network, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-m",
	    "comment", "--comment", "hearth", "-j", "ACCEPT", NULL};

	return run_program(path, outward ? outward_argv : inward_argv, NULL, &out, err);
}

/* Through iptables, never nft, although the rules end up there: iptables refuses to touch
   its own tables once they hold a rule of another's making. */
int
network_firewall_let_through(
    const struct network *n, const char *chain, bool on, struct err *err)
{
	const char *path = find_program(iptables_paths);
	char network[NETWORK_TEXT_MAX];

	network_text(n, network);
	if (!path) {
		log_warn(
		    "iptables drops what is forwarded and is not installed: the machines "
		    "may not reach the outside");
		return 0;
	}
	for (int outward = 0; outward < 2; outward++) {
		int there;

		while ((there = run_iptables(path, "-C", chain, network, outward, err)) ==
			   0 &&
		       !on)
			if (run_iptables(path, "-D", chain, network, outward, err) != 0)
				return err_set(
				    err, ERR_INTERNAL, "iptables -D %s failed", chain);
		if (there < 0)
			return -1;
		if (there > 0 && on &&
		    run_iptables(path, "-I", chain, network, outward, err) != 0)
			return err_set(err, ERR_INTERNAL, "iptables -I %s failed", chain);
	}
	return 0;
}
