/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "launcher/create.h"
#include "launcher/disk.h"
#include "launcher/disk_attach.h"
#include "launcher/file.h"
#include "launcher/home.h"
#include "launcher/image.h"
#include "launcher/instance.h"
#include "launcher/machines.h"
#include "launcher/protocol.h"
#include "launcher/request.h"
#include "launcher/save.h"

#define PATIENCE_S 10

struct service {
	const struct launcher *l;
	const struct launcher_request *q;
	int connection;
	struct launcher_reply reply; /* the last one */
	int reply_fd;		     /* goes with it; -1: none */
};

static struct launcher_reply
new_reply(void)
{
	return (struct launcher_reply){
	    .magic = LAUNCHER_MAGIC, .version = LAUNCHER_VERSION};
}

/* A peer that is gone does not matter: what was asked for is done or on record. */
static int
send_reply(int connection, const struct launcher_reply *r, int fd)
{
	struct iovec iov = {(void *)r, sizeof(*r)};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *h;

		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(int));
	}
	return sendmsg(connection, &m, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int
serve_create(struct service *s, struct err *err)
{
	return create_machine(s->l, s->q, s->connection, &s->reply, err);
}

static int
serve_kill(struct service *s, struct err *err)
{
	(void)snprintf(s->reply.id, sizeof(s->reply.id), "%s", s->q->id);
	s->reply.state = LAUNCHER_ABSENT;
	return machine_kill(s->l, s->q->id, err);
}

static int
list_one(void *arg, const char *id)
{
	struct service *s = arg;
	struct launcher_reply r = new_reply();
	struct record record;
	bool alive;

	if (!machine_look(s->l, id, &record, &alive))
		return 0;
	reply_from_record(s->l, id, &record, alive, &r);
	return send_reply(s->connection, &r, -1);
}

static int
list_disk(void *arg, const struct launcher_reply *reply)
{
	struct service *s = arg;

	return send_reply(s->connection, reply, -1);
}

static int
serve_list(struct service *s, struct err *err)
{
	if (machine_each(s->l, list_one, s) != 0)
		return err_set(err, ERR_CANCELLED, "the peer went away");
	return disk_each(s->l, list_disk, s, err);
}

static void
tell_progress(void *arg, unsigned percent, const char *text)
{
	struct service *s = arg;
	struct launcher_reply r = new_reply();

	r.percent = percent;
	(void)snprintf(r.message, sizeof(r.message), "%s", text);
	(void)send_reply(s->connection, &r, -1);
}

static int
serve_build_image(struct service *s, struct err *err)
{
	memcpy(s->reply.image, s->q->image, sizeof(s->reply.image));
	s->reply.percent = 100;
	return image_build(
	    s->l, s->q->image, tell_progress, s, s->reply.image_version, err);
}

static int
serve_find_image(struct service *s, struct err *err)
{
	int fd;

	memcpy(s->reply.image, s->q->image, sizeof(s->reply.image));
	if (image_open(s->l, s->q->image, "", &fd, s->reply.image_version, err) < 0)
		return -1;
	close(fd);
	return 0;
}

static int
serve_remove_image(struct service *s, struct err *err)
{
	return image_remove(s->l, s->q->image, s->q->image_version, err);
}

static int
serve_stop(struct service *s, struct err *err)
{
	return instance_stop(s->l, s->q->id, &s->reply, err);
}

static int
serve_freeze(struct service *s, struct err *err)
{
	bool freeze = s->q->op == LAUNCHER_FREEZE;

	return instance_freeze(s->l, s->q->id, freeze, &s->reply, err);
}

static int
serve_save_image(struct service *s, struct err *err)
{
	memcpy(s->reply.image, s->q->image, sizeof(s->reply.image));
	return image_save(s->l, s->q->id, s->q->image, s->reply.image_version, err);
}

static int
serve_drop_image(struct service *s, struct err *err)
{
	return image_drop(s->l, s->q->image, err);
}

static int
serve_console(struct service *s, struct err *err)
{
	return instance_console(s->l, s->q->id, &s->reply_fd, err);
}

static int
serve_open_metadata(struct service *s, struct err *err)
{
	return instance_open_metadata(s->l, s->q->id, &s->reply_fd, err);
}

static int
serve_open_config(struct service *s, struct err *err)
{
	if (!s->l->config_path)
		return err_set(err, ERR_NOT_FOUND,
		    "the launcher was started without a configuration file");
	s->reply_fd = open(s->l->config_path, O_RDONLY | O_CLOEXEC);
	return s->reply_fd >= 0 ? 0 : err_errno(err, errno, "open %s", s->l->config_path);
}

static int
serve_make_home(struct service *s, struct err *err)
{
	return home_make(s->l, s->q->home_uid, err);
}

static int
serve_mount_home(struct service *s, struct err *err)
{
	return home_mount(s->l, s->q->id, s->q->home_uid, err);
}

static int
serve_disk_make(struct service *s, struct err *err)
{
	bool snapshot = s->q->op == LAUNCHER_DISK_SNAPSHOT;

	memcpy(s->reply.id, s->q->disk, sizeof(s->reply.id));
	return snapshot ? disk_snapshot(s->l, s->q, s->connection, err)
			: disk_make(s->l, s->q, s->connection, err);
}

static int
serve_disk_remove(struct service *s, struct err *err)
{
	return disk_remove(s->l, s->q->disk, err);
}

static int
serve_disk_attach(struct service *s, struct err *err)
{
	return disk_attach(s->l, s->q, &s->reply, err);
}

static int
serve_disk_detach(struct service *s, struct err *err)
{
	return disk_detach(s->l, s->q, err);
}

static int
serve_join(struct service *s, struct err *err)
{
	return machine_join(s->l, s->q->id, s->q->gang, s->q->gang_number, err);
}

enum kind { ANY, MACHINES, PLAIN_MACHINES, INSTANCES };

static const struct {
	int (*fn)(struct service *s, struct err *err);
	enum kind serves; /* what the launcher must make for this */
} operations[LAUNCHER_OP_END] = {
    [LAUNCHER_CREATE] = {serve_create, PLAIN_MACHINES},
    [LAUNCHER_KILL] = {serve_kill, MACHINES},
    [LAUNCHER_LIST] = {serve_list, MACHINES},
    [LAUNCHER_BUILD_IMAGE] = {serve_build_image, MACHINES},
    [LAUNCHER_REMOVE_IMAGE] = {serve_remove_image, MACHINES},
    [LAUNCHER_FIND_IMAGE] = {serve_find_image, MACHINES},
    [LAUNCHER_OPEN_CONFIG] = {serve_open_config, ANY},
    [LAUNCHER_JOIN] = {serve_join, PLAIN_MACHINES},
    [LAUNCHER_START] = {serve_create, INSTANCES},
    [LAUNCHER_STOP] = {serve_stop, INSTANCES},
    [LAUNCHER_FREEZE] = {serve_freeze, INSTANCES},
    [LAUNCHER_THAW] = {serve_freeze, INSTANCES},
    [LAUNCHER_SAVE_IMAGE] = {serve_save_image, INSTANCES},
    [LAUNCHER_DROP_IMAGE] = {serve_drop_image, INSTANCES},
    [LAUNCHER_CONSOLE] = {serve_console, INSTANCES},
    [LAUNCHER_OPEN_METADATA] = {serve_open_metadata, INSTANCES},
    [LAUNCHER_MAKE_HOME] = {serve_make_home, MACHINES},
    [LAUNCHER_MOUNT_HOME] = {serve_mount_home, MACHINES},
    [LAUNCHER_DISK_MAKE] = {serve_disk_make, PLAIN_MACHINES},
    [LAUNCHER_DISK_SNAPSHOT] = {serve_disk_make, PLAIN_MACHINES},
    [LAUNCHER_DISK_REMOVE] = {serve_disk_remove, PLAIN_MACHINES},
    [LAUNCHER_DISK_ATTACH] = {serve_disk_attach, PLAIN_MACHINES},
    [LAUNCHER_DISK_DETACH] = {serve_disk_detach, PLAIN_MACHINES},
};

static int
dispatch(struct service *s, size_t n, struct err *err)
{
	enum kind serves;

	if (request_check(s->q, n, err) < 0)
		return -1;
	serves = operations[s->q->op].serves;
	if (serves != ANY && !s->l->serves_machines)
		return err_set(
		    err, ERR_UNAVAILABLE, "no provider of kind local is configured here");
	if ((serves == INSTANCES && !s->l->instances) ||
	    (serves == PLAIN_MACHINES && s->l->instances))
		return err_set(err, ERR_NOT_PERMITTED, "this launcher makes %s",
		    s->l->instances ? "instances only" : "no instances");
	return operations[s->q->op].fn(s, err);
}

static void
limit_patience(int connection)
{
	struct timeval t = {.tv_sec = PATIENCE_S};

	(void)setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	(void)setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

bool
serve_permits(const struct launcher *l, int connection)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);

	return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 &&
	       (peer.uid == 0 || peer.uid == l->uid);
}

void
serve(const struct launcher *l, int connection)
{
	static struct launcher_request q; /* holds a private key: not on the stack */
	struct service s = {.l = l,
	    .q = &q,
	    .connection = connection,
	    .reply = new_reply(),
	    .reply_fd = -1};
	struct err err = {.code = ERR_NONE};
	ssize_t n;

	limit_patience(connection);
	n = recv(connection, &q, sizeof(q), MSG_TRUNC);
	if (n <= 0)
		return;
	if (dispatch(&s, (size_t)n, &err) < 0) {
		s.reply.error = (int32_t)err.code;
		(void)snprintf(s.reply.message, sizeof(s.reply.message), "%s%s%s",
		    err.msg, err.hint[0] ? "; " : "", err.hint);
	}
	s.reply.last = 1;
	(void)send_reply(connection, &s.reply, s.reply_fd);
	shutdown(connection, SHUT_RDWR);
	explicit_bzero(&q, sizeof(q));
	if (s.reply_fd >= 0)
		close(s.reply_fd);
}
