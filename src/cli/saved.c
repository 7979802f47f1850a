/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/saved.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/id.h"
#include "base/xalloc.h"
#include "cli/api.h"
#include "cli/files.h"
#include "cli/keys.h"
#include "cli/ssh_options.h"
#include "cli/text.h"
#include "cli/view.h"

#define RECORD_MAX (64u << 10)

void
saved_fini(struct saved *s)
{
	free(s->dir);
	free(s->id);
	free(s->name);
	free(s->machine);
	free(s->host);
	free(s->login);
	free(s->socket);
	free(s->identity);
	free(s->public_key);
	*s = (struct saved){0};
}

static char *
dir_of(const char *state_dir, const char *id)
{
	return xasprintf("%s/reservations/%s", state_dir, id);
}

static bool
is_made_of(const char *s, const char *others, size_t max)
{
	size_t n = strnlen(s, max + 1);

	if (n == 0 || n > max || s[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isascii(s[i]) ||
		    (!isalnum((unsigned char)s[i]) && !strchr(others, s[i])))
			return false;
	return true;
}

static bool
is_text(const char *s, bool lines)
{
	for (; *s; s++)
		if (iscntrl((unsigned char)*s) && !(lines && *s == '\n'))
			return false;
	return true;
}

/* From a reservation or from our own record: both have the same fields. Only what is safe
   in a path and in ssh's configuration passes. */
static int
parse(const char *state_dir, const json_t *r, struct saved *ret, struct err *err)
{
	const char *id = view_str(r, "id");
	int64_t port = view_int(r, "port", 22);

	if (!id_valid(id, 'r') || !name_valid(view_str(r, "name")) ||
	    !name_valid(view_str(r, "machine")) || port < 1 || port > 65535 ||
	    !is_made_of(view_str(r, "host"), ".:-_", 255) ||
	    !is_made_of(view_str(r, "login"), "._-", 32))
		return err_set(
		    err, ERR_INTERNAL, "hearthd's reply lacks what ssh needs: %.60s", id);
	*ret = (struct saved){
	    .dir = dir_of(state_dir, id),
	    .id = xstrdup(id),
	    .name = xstrdup(view_str(r, "name")),
	    .machine = xstrdup(view_str(r, "machine")),
	    .host = xstrdup(view_str(r, "host")),
	    .login = xstrdup(view_str(r, "login")),
	    .port = (int)port,
	};
	(void)view_time(r, "expires_at", &ret->expires_at);
	return 0;
}

bool
saved_load(const char *state_dir, const char *id, struct saved *ret)
{
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *r = NULL;
	json_error_t why;
	struct err err;
	size_t n;

	if (!id_valid(id, 'r'))
		return false;
	path = xasprintf("%s/reservations/%s/reservation.json", state_dir, id);
	if (files_read(path, RECORD_MAX, &text, &n, &err) < 0)
		return false;
	r = json_loadb(text, n, 0, &why);
	if (!r || strcmp(view_str(r, "id"), id) != 0 ||
	    parse(state_dir, r, ret, &err) < 0)
		return false;
	ret->socket = xstrdup(view_str(r, "socket"));
	ret->identity = xstrdup_null(json_string_value(json_object_get(r, "identity")));
	ret->public_key =
	    xstrdup_null(json_string_value(json_object_get(r, "public_key")));
	ret->n_certs = (int)view_int(r, "n_certs", 0);
	ret->host_ca = json_is_true(json_object_get(r, "host_ca"));
	if (ret->n_certs < 0 || ret->n_certs > SAVED_CERTS_MAX)
		ret->n_certs = 0;
	return true;
}

static int
write_in(const char *dir, const char *name, const char *data, size_t n, struct err *err)
{
	AUTO_FREE char *path = xasprintf("%s/%s", dir, name);

	return files_write(path, data, n, 0600, err);
}

static int
write_certs(struct saved *s, const json_t *certs, struct err *err)
{
	size_t i;
	json_t *cert;

	if (json_array_size(certs) > SAVED_CERTS_MAX)
		return err_set(err, ERR_TOO_LARGE, "hearthd sent over %d certificates",
		    SAVED_CERTS_MAX);
	json_array_foreach (certs, i, cert) {
		AUTO_BUF struct buf line = BUF_INIT(0);
		AUTO_FREE char *path = ssh_cert_path(s->dir, (int)i);
		const char *text = json_string_value(cert);

		if (!text || !is_text(text, false))
			return err_set(
			    err, ERR_INTERNAL, "hearthd sent a broken certificate");
		buf_fmt(&line, "%s\n", text);
		if (files_write(path, line.data, line.len, 0600, err) < 0)
			return -1;
		s->n_certs++;
	}
	return 0;
}

static int
write_known_hosts(struct saved *s, const char *text, struct err *err)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	if (!is_text(text, true))
		return err_set(err, ERR_INTERNAL, "hearthd sent a broken host key line");
	s->host_ca = strncmp(text, "@cert-authority ", 16) == 0;
	buf_str(&b, text);
	if (b.len > 0 && b.data[b.len - 1] != '\n')
		buf_char(&b, '\n');
	return write_in(s->dir, "known_hosts", b.data ? b.data : "", b.len, err);
}

static int
write_record(const struct saved *s, const json_t *r, const char *socket, struct err *err)
{
	AUTO_FREE char *from = files_absolute(socket);
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *rec = json_pack("{ss ss ss ss si ss ss? ss? si sb ss}", "id",
	    s->id, "name", s->name, "machine", s->machine, "host", s->host, "port",
	    s->port, "login", s->login, "identity", s->identity, "public_key",
	    s->public_key, "n_certs", s->n_certs, "host_ca", s->host_ca, "expires_at",
	    view_str(r, "expires_at"));
	json_t *socket_json = json_string(from);

	if (!rec)
		return err_set(err, ERR_INVALID, "the key's path is not UTF-8");
	if (socket_json)
		json_object_set_new(rec, "socket", socket_json);
	text = json_dumps(rec, JSON_INDENT(2));
	return write_in(s->dir, "reservation.json", text, strlen(text), err);
}

static int
write_fragment(const struct saved *s, struct err *err)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	if (ssh_config_fragment(s, &b, err) < 0)
		return -1;
	return write_in(s->dir, "ssh_config", b.data, b.len, err);
}

/* ssh takes the first value it finds: an older reservation's alias would hide a newer
   one's of the same name. Its other files, and its ssh_command, stay good. */
static void
take_name(const char *state_dir, const struct saved *s)
{
	AUTO_JSON json_t *ids = saved_ids(state_dir);
	size_t i;
	json_t *id;

	json_array_foreach (ids, i, id) {
		struct saved other = {0};

		if (saved_load(state_dir, json_string_value(id), &other) &&
		    strcmp(other.id, s->id) != 0 && strcmp(other.name, s->name) == 0) {
			AUTO_FREE char *path = xasprintf("%s/ssh_config", other.dir);

			(void)unlink(path);
		}
		saved_fini(&other);
	}
}

static int
write_files(const char *state_dir, struct saved *s, const json_t *r, const char *socket,
    struct err *err)
{
	AUTO_FREE char *top = NULL;

	if (write_certs(s, json_object_get(r, "certificates"), err) < 0 ||
	    write_known_hosts(s, view_str(r, "known_hosts"), err) < 0 ||
	    write_record(s, r, socket, err) < 0 || write_fragment(s, err) < 0 ||
	    saved_top_file(state_dir, &top, err) < 0)
		return -1;
	take_name(state_dir, s);
	return 0;
}

int
saved_write(const char *state_dir, const json_t *reservation, const struct key *key,
    const char *socket, struct err *err)
{
	AUTO_FREE char *all = xasprintf("%s/reservations", state_dir);
	struct saved s = {0};
	bool is_new;
	int r;

	if (parse(state_dir, reservation, &s, err) < 0)
		return -1;
	assert(s.id && s.dir);
	s.identity = xstrdup_null(key->identity);
	s.public_key = xstrdup_null(key->line);
	is_new = access(s.dir, F_OK) < 0;
	r = files_mkdir(all, err) < 0 || files_mkdir(s.dir, err) < 0 ||
		    write_files(state_dir, &s, reservation, socket, err) < 0
		? -1
		: 0;
	if (r < 0 && is_new)
		saved_remove(state_dir, s.id);
	saved_fini(&s);
	return r;
}

void
saved_remove(const char *state_dir, const char *id)
{
	AUTO_FREE char *path = NULL;
	struct dirent *e;
	DIR *d;

	if (!id_valid(id, 'r'))
		return;
	path = dir_of(state_dir, id);
	d = opendir(path);
	if (!d)
		return;
	while ((e = readdir(d)))
		if (e->d_type != DT_DIR)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	(void)rmdir(path);
}

static void
set_file(json_t *r, const char *key, const char *dir, const char *name)
{
	AUTO_FREE char *path = xasprintf("%s/%s", dir, name);

	json_object_set_new(r, key, json_string(path) ?: json_null());
}

void
saved_decorate(const char *state_dir, json_t *reservation)
{
	AUTO_BUF struct buf command = BUF_INIT(0);
	struct saved s = {0};
	struct err err;

	json_object_set_new(reservation, "certificate_file", json_null());
	json_object_set_new(reservation, "known_hosts_file", json_null());
	json_object_set_new(reservation, "ssh_command", json_null());
	if (!saved_load(state_dir, view_str(reservation, "id"), &s))
		return;
	if (strcmp(s.machine, view_str(reservation, "machine")) == 0 &&
	    ssh_command_line(&s, &command, &err) == 0) {
		if (s.n_certs > 0)
			set_file(reservation, "certificate_file", s.dir, "key-cert.pub");
		set_file(reservation, "known_hosts_file", s.dir, "known_hosts");
		json_object_set_new(
		    reservation, "ssh_command", json_string(command.data) ?: json_null());
	}
	saved_fini(&s);
}

json_t *
saved_ids(const char *state_dir)
{
	AUTO_FREE char *path = xasprintf("%s/reservations", state_dir);
	json_t *ids = json_array();
	struct dirent *e;
	DIR *d = opendir(path);

	if (!d)
		return ids;
	while ((e = readdir(d)))
		if (id_valid(e->d_name, 'r'))
			json_array_append_new(ids, json_string(e->d_name));
	closedir(d);
	return ids;
}

static bool
is_live(const json_t *live, const char *id)
{
	size_t i;
	json_t *r;

	json_array_foreach (live, i, r)
		if (strcmp(view_str(r, "id"), id) == 0)
			return strcmp(view_str(r, "state"), "ended") != 0;
	return false;
}

void
saved_prune(
    const char *state_dir, const json_t *ids, const json_t *live, const char *socket)
{
	AUTO_FREE char *from = files_absolute(socket);
	size_t i;
	json_t *id;

	json_array_foreach (ids, i, id) {
		const char *name = json_string_value(id);
		struct saved s = {0};

		if (name && saved_load(state_dir, name, &s) &&
		    strcmp(s.socket, from) == 0 && !is_live(live, name))
			saved_remove(state_dir, name);
		saved_fini(&s);
	}
}

int
saved_argv(const struct saved *s, int extra, char ***ret, int *ret_n, struct err *err)
{
	struct ssh_options o;
	char **argv;
	int n = 0;

	if (ssh_options(s, &o, err) < 0)
		return -1;
	argv = xcalloc(2 * (size_t)o.n + 5 + (size_t)extra, sizeof(*argv));
	argv[n++] = xstrdup("ssh");
	for (int i = 0; i < o.n; i++) {
		argv[n++] = xstrdup("-o");
		argv[n++] = xasprintf("%s=%s", o.opt[i].key, o.opt[i].value);
	}
	argv[n++] = xstrdup("-p");
	argv[n++] = xasprintf("%d", s->port);
	argv[n++] = xasprintf("%s@%s", s->login, s->host);
	ssh_options_fini(&o);
	*ret = argv;
	*ret_n = n;
	return 0;
}

int
saved_top_file(const char *state_dir, char **ret, struct err *err)
{
	AUTO_FREE char *path = xasprintf("%s/ssh_config", state_dir);
	AUTO_BUF struct buf text = BUF_INIT(0);
	AUTO_FREE char *old = NULL;
	struct err ignored;
	size_t n;

	buf_str(&text, "# Made by hearth: the machines you have reserved.\n");
	if (ssh_include_line(&text, state_dir, "/reservations/*/ssh_config", err) < 0)
		return -1;
	buf_char(&text, '\n');
	if ((files_read(path, RECORD_MAX, &old, &n, &ignored) < 0 || n != text.len ||
		memcmp(old, text.data, n) != 0) &&
	    files_write(path, text.data, text.len, 0600, err) < 0)
		return -1;
	*ret = TAKE(path);
	return 0;
}
