/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "launcher/network_impl.h"

/* The libc's own reader takes lines of any length and three nameservers; nobody has more
 * text. */
#define RESOLV_MAX 65535

static const char resolv_conf[] = "/etc/resolv.conf";
/* The servers behind systemd-resolved's stub, which answers on loopback only
 * (resolved.conf(5)). */
static const char resolved_conf[] = "/run/systemd/resolve/resolv.conf";

static void
keep_words(char out[256], const char *rest)
{
	size_t len = strlen(rest);

	if (len == 0 || len >= 256)
		return;
	for (const char *p = rest; *p; p++)
		if (*p != ' ' && (*p < 0x21 || *p > 0x7e))
			return;
	memcpy(out, rest, len + 1);
}

static void
take_server(struct network_dns *dns, const char *text)
{
	struct in_addr in;
	uint32_t address;

	if (inet_pton(AF_INET, text, &in) != 1) /* a machine has no IPv6 */
		return;
	address = ntohl(in.s_addr);
	for (unsigned i = 0; i < dns->n_servers; i++)
		if (dns->servers[i] == address)
			return;
	if (address >> 24 == 127 || address == 0) {
		if (!dns->loopback && address)
			dns->loopback = address;
	} else if (address < 0xe0000000 && dns->n_servers < NETWORK_DNS_MAX) {
		dns->servers[dns->n_servers++] = address;
	}
}

static const char *
after_word(const char *line, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(line, word, n) != 0 || (line[n] != ' ' && line[n] != '\t'))
		return NULL;
	return line + n + strspn(line + n, " \t");
}

static void
take_line(struct network_dns *dns, char *line)
{
	const char *rest;

	for (char *p = line; *p; p++)
		if (*p == '\t')
			*p = ' ';
	for (size_t n = strlen(line); n && (line[n - 1] == ' ' || line[n - 1] == '\r');)
		line[--n] = '\0';
	if ((rest = after_word(line, "nameserver"))) {
		line[strcspn(line, "#;")] = '\0';
		for (size_t n = strlen(line); n && line[n - 1] == ' ';)
			line[--n] = '\0';
		take_server(dns, rest);
	} else if ((rest = after_word(line, "search")) ||
		   (rest = after_word(line, "domain"))) {
		keep_words(
		    dns->search, rest); /* the last one counts, as in resolv.conf(5) */
	} else if ((rest = after_word(line, "options"))) {
		keep_words(dns->options, rest);
	}
}

static void
read_conf(const char *path, struct network_dns *dns)
{
	AUTO_FREE char *text = malloc(RESOLV_MAX + 1);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t len = 0;
	ssize_t got;

	if (fd < 0 || !text)
		return;
	while (len < RESOLV_MAX && (got = read(fd, text + len, RESOLV_MAX - len)) > 0)
		len += (size_t)got;
	text[len] = '\0';
	for (char *line = text, *next; line; line = next) {
		if ((next = strchr(line, '\n')))
			*next++ = '\0';
		take_line(dns, line);
	}
}

void
network_dns_read(struct network_dns *ret_dns)
{
	struct network_dns behind = {0};

	memset(ret_dns, 0, sizeof(*ret_dns));
	read_conf(resolv_conf, ret_dns);
	if (ret_dns->n_servers == 0) {
		read_conf(resolved_conf, &behind);
		memcpy(ret_dns->servers, behind.servers, sizeof(behind.servers));
		ret_dns->n_servers = behind.n_servers;
	}
	if (!ret_dns->loopback)
		ret_dns->loopback = INADDR_LOOPBACK; /* the libc's default */
}

void
network_resolv_conf(const struct network *n, uint32_t slot, struct buf *out)
{
	struct network_dns dns;
	char address[NETWORK_ADDRESS_MAX];

	network_dns_read(&dns);
	for (unsigned i = 0; i < dns.n_servers; i++) {
		network_dotted(dns.servers[i], address);
		buf_fmt(out, "nameserver %s\n", address);
	}
	if (dns.n_servers == 0) {
		network_gateway(n, slot, address);
		buf_fmt(out, "nameserver %s\n", address);
	}
	if (dns.search[0])
		buf_fmt(out, "search %s\n", dns.search);
	if (dns.options[0])
		buf_fmt(out, "options %s\n", dns.options);
}
