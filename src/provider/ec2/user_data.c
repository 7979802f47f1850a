/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/ec2/user_data.h"

#include <string.h>

#include "base/buf.h"

/* Quotes and the here-documents' end must not come out of what is put in. */
static int
check(const char *what, const char *text, bool lines, struct err *err)
{
	for (const char *s = text; *s; s++)
		if ((unsigned char)*s < 0x20 ? !lines || *s != '\n'
					     : *s == '\'' || *s == '\\' || *s == 0x7f)
			return err_set(err, ERR_INVALID,
			    "%s: expected text without quotes and control characters",
			    what);
	if (strstr(text, "HEARTH"))
		return err_set(err, ERR_INVALID, "%s: holds our own marker", what);
	return 0;
}

/*
 * hearth-deadline SECONDS [WARNING]: the machine powers off then. One process waits for it, in steps of 30 s at most,
 * since a hibernated machine's clock jumps. `boot` is for a machine that was stopped and started: its deadline
 * may have passed meanwhile, so the daemon gets ten minutes to set a new one.
 */
static const char deadline_script[] =
    "#!/bin/sh\n"
    "# hearth-deadline SECONDS [WARNING] | boot: this machine powers off then.\n"
    "d=/var/lib/hearth\n"
    "self=/usr/local/sbin/hearth-deadline\n"
    "now() { date +%s%3N; }\n"
    "warn() {\n"
    "	text=$(cat $d/warning)\n"
    "	for t in /dev/pts/[0-9]*; do\n"
    "		printf '\\r\\nhearth: this machine ends in %s minutes%s\\r\\n' "
    "$1 \"${text:+; $text}\" >$t &\n"
    "	done 2>/dev/null\n"
    "}\n"
    "watch() {\n"
    "	warned=\n"
    "	while left=$(($(cat $d/deadline) - $(now))); [ $left -gt 0 ]; do\n"
    "		step=$left\n"
    "		if [ -z \"$warned\" ] && [ $left -le 300000 ]; then\n"
    "			warned=yes\n"
    "			warn $(((left + 30000) / 60000))\n"
    "		fi\n"
    "		[ -n \"$warned\" ] || step=$((left - 300000))\n"
    "		[ $step -le 30000 ] || step=30000\n"
    "		[ $step -ge 0 ] || step=0\n"
    "		sleep $(printf %d.%03d $((step / 1000)) $((step % 1000)))\n"
    "	done\n"
    "	systemctl poweroff || poweroff || shutdown -h now\n"
    "}\n"
    "case $1 in\n"
    "watch) watch; exit ;;\n"
    "boot)\n"
    "	end=$(cat $d/deadline 2>/dev/null || echo 0)\n"
    "	least=$(($(now) + 600000))\n"
    "	[ \"$end\" -ge $least ] || end=$least ;;\n"
    "*)	end=$(($(now) + $1 * 1000)) ;;\n"
    "esac\n"
    "mkdir -p $d\n"
    "chmod 700 $d\n"
    "[ \"$1\" = boot ] || printf '%s\\n' \"$2\" >$d/warning\n"
    "[ -n \"$2\" ] || [ \"$1\" = boot ] || : >$d/warning\n"
    "printf '%s\\n' $end >$d/deadline.new\n"
    "mv $d/deadline.new $d/deadline\n"
    "old=$(cat $d/pid 2>/dev/null)\n"
    "setsid $self watch </dev/null >/dev/null 2>&1 &\n"
    "printf '%s\\n' $! >$d/pid\n"
    "if [ -n \"$old\" ] && tr '\\0' ' ' </proc/$old/cmdline 2>/dev/null |\n"
    "    grep -q 'hearth-deadline watch'; then\n"
    "	kill $old\n"
    "fi\n"
    "exit 0\n";

static const char boot_unit[] = "[Unit]\n"
				"Description=hearth: power off at the deadline\n"
				"[Service]\n"
				"Type=oneshot\n"
				"RemainAfterExit=yes\n"
				"KillMode=process\n"
				"ExecStart=/usr/local/sbin/hearth-deadline boot\n"
				"[Install]\n"
				"WantedBy=multi-user.target\n";

static void
here(struct buf *out, const char *path, const char *text)
{
	buf_fmt(out, "cat >%s <<'HEARTH'\n%s%sHEARTH\n", path, text,
	    *text && text[strlen(text) - 1] == '\n' ? "" : "\n");
}

/* First match wins in sshd_config, and the distributions include this directory at its top. */
static void
sshd_config(struct buf *out, const char *key, bool certificate, const char *mark)
{
	buf_fmt(out,
	    "cat >/etc/ssh/sshd_config.d/00-hearth.conf.new <<'HEARTH'\n"
	    "# by hearth\n"
	    "HostKey /etc/ssh/hearth/%s\n",
	    key);
	if (certificate)
		buf_fmt(out, "HostCertificate /etc/ssh/hearth/%s-cert.pub\n", key);
	buf_fmt(out,
	    "VersionAddendum %s\n"
	    "PermitRootLogin prohibit-password\n"
	    "TrustedUserCAKeys /etc/ssh/hearth/user_ca.pub\n"
	    "AuthorizedPrincipalsFile /etc/ssh/hearth/principals\n"
	    "Match User root\n"
	    "	AuthorizedKeysFile /etc/ssh/hearth/control_keys\n"
	    "	TrustedUserCAKeys none\n"
	    "Match all\n"
	    "HEARTH\n"
	    "chmod 600 /etc/ssh/sshd_config.d/00-hearth.conf.new\n"
	    "mv /etc/ssh/sshd_config.d/00-hearth.conf.new "
	    "/etc/ssh/sshd_config.d/00-hearth.conf\n",
	    mark);
}

static void
reload(struct buf *out)
{
	buf_str(out, "systemctl reload ssh 2>/dev/null || systemctl reload sshd "
		     "2>/dev/null || :\n");
}

void
user_data_authorize(const char *login, const char *keys, struct buf *out)
{
	buf_fmt(out,
	    "h=$(getent passwd %s | cut -d: -f6)\n"
	    "mkdir -p \"$h/.ssh\"\n"
	    "touch \"$h/.ssh/authorized_keys\"\n"
	    "cat >/run/hearth-keys <<'HEARTH'\n%s%sHEARTH\n"
	    "while read -r k; do\n"
	    "	grep -qxF \"$k\" \"$h/.ssh/authorized_keys\" ||\n"
	    "	    printf '%%s\\n' \"$k\" >>\"$h/.ssh/authorized_keys\"\n"
	    "done </run/hearth-keys\n"
	    "rm -f /run/hearth-keys\n"
	    "chown -R %s: \"$h/.ssh\"\n"
	    "chmod 700 \"$h/.ssh\"\n"
	    "chmod 600 \"$h/.ssh/authorized_keys\"\n",
	    login, keys, *keys && keys[strlen(keys) - 1] == '\n' ? "" : "\n", login);
}

int
user_data_check_keys(const char *keys, struct err *err)
{
	return check("keys", keys, true, err);
}

int
user_data_write(const struct user_data *u, struct buf *out, struct err *err)
{
	size_t before = out->len;

	if (check("first host key", u->first_host_key, true, err) < 0 ||
	    check("control key", u->control_key, false, err) < 0 ||
	    check("user CA", u->user_ca, false, err) < 0 ||
	    check("login", u->login, false, err) < 0 ||
	    (u->user_keys && check("keys", u->user_keys, true, err) < 0))
		return -1;
	buf_str(out, "#!/bin/sh\n"
		     "# hearth, at the first boot: the lease, and who may come in.\n"
		     "umask 077\n"
		     "mkdir -p /etc/ssh/hearth /etc/ssh/sshd_config.d /usr/local/sbin\n"
		     "chmod 755 /etc/ssh/hearth\n");
	here(out, "/usr/local/sbin/hearth-deadline", deadline_script);
	buf_fmt(out,
	    "chmod 755 /usr/local/sbin/hearth-deadline\n"
	    "/usr/local/sbin/hearth-deadline %lld\n",
	    (long long)u->lease_s);
	here(out, "/etc/ssh/hearth/first_host_key", u->first_host_key);
	here(out, "/etc/ssh/hearth/control_keys", u->control_key);
	here(out, "/etc/ssh/hearth/user_ca.pub", u->user_ca);
	buf_str(out,
	    "[ -e /etc/ssh/hearth/principals ] || : >/etc/ssh/hearth/principals\n"
	    "chmod 644 /etc/ssh/hearth/control_keys /etc/ssh/hearth/user_ca.pub "
	    "/etc/ssh/hearth/principals\n");
	buf_fmt(out,
	    "if ! id -u %s >/dev/null 2>&1; then\n"
	    "	useradd -m -U -s /bin/bash %s\n"
	    "	usermod -p '*' %s\n"
	    "fi\n"
	    "if [ -d /etc/sudoers.d ]; then\n"
	    "	echo '%s ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-hearth\n"
	    "	chmod 440 /etc/sudoers.d/90-hearth\n"
	    "fi\n",
	    u->login, u->login, u->login, u->login);
	if (u->user_keys)
		user_data_authorize(u->login, u->user_keys, out);
	sshd_config(out, "first_host_key", false, USER_DATA_MARK);
	buf_str(out, "grep -Eqs '^[[:space:]]*Include[[:space:]].*sshd_config\\.d/' "
		     "/etc/ssh/sshd_config ||\n"
		     "    sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' "
		     "/etc/ssh/sshd_config\n");
	reload(out);
	buf_str(out, "if [ -d /run/systemd/system ]; then\n");
	here(out, "/etc/systemd/system/hearth-deadline.service", boot_unit);
	buf_str(out, "	systemctl daemon-reload\n"
		     "	systemctl enable hearth-deadline.service\n"
		     "fi\n");
	if (out->overflow || out->len - before > USER_DATA_MAX)
		return err_set(err, ERR_TOO_LARGE, "the user data has more than %d bytes",
		    USER_DATA_MAX);
	return 0;
}

int
user_data_install(const struct install *i, struct buf *out, struct err *err)
{
	if (check("host key", i->host_key, true, err) < 0 ||
	    check("host certificate", i->host_cert, false, err) < 0 ||
	    check("principal", i->principal, false, err) < 0 ||
	    check("host name", i->hostname, false, err) < 0 ||
	    check("mark", i->mark, false, err) < 0)
		return -1;
	buf_str(out, "set -e\numask 077\n");
	here(out, "/etc/ssh/hearth/host_key.new", i->host_key);
	here(out, "/etc/ssh/hearth/host_key-cert.pub.new", i->host_cert);
	here(out, "/etc/ssh/hearth/principals.new", i->principal);
	buf_str(out, "cd /etc/ssh/hearth\n"
		     "chmod 644 host_key-cert.pub.new principals.new\n"
		     "for f in host_key host_key-cert.pub principals; do\n"
		     "	mv $f.new $f\n"
		     "done\n");
	sshd_config(out, "host_key", true, i->mark);
	buf_fmt(out,
	    "hostnamectl set-hostname '%s' 2>/dev/null || hostname '%s' 2>/dev/null || "
	    ":\n"
	    "/usr/local/sbin/hearth-deadline %lld\n"
	    "mkdir -p /run/sshd\n"
	    "PATH=$PATH:/usr/sbin sshd -t\n"
	    "rm -f first_host_key\n",
	    i->hostname, i->hostname, (long long)i->lease_s);
	reload(out);
	if (out->overflow)
		return err_set(err, ERR_TOO_LARGE, "the machine's keys are too long");
	return 0;
}
