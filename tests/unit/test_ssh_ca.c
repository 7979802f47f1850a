/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: ssh-keygen reads our keys and certificates exactly as we meant them, the CA's
   file is never readable by others, half-written, replaced or silently accepted when
   damaged, and a signature is fast enough to sit in every claim (printed, not asserted).
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ssh/ca.h"
#include "ssh/cert.h"
#include "ssh/ed25519.h"
#include "ssh/hostkey.h"
#include "ssh/wire.h"
#include "sshtest.h"

static struct ssh_ca *
open_ca(const char *name)
{
	struct ssh_ca *ca;
	struct err err;

	if (ssh_ca_load_or_create(AT_FDCWD, name, &ca, &err) < 0)
		fail_msg("%s", err.msg);
	return ca;
}

static void
contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in:\n%s", part, text);
}

static void
the_file_is_an_openssh_key(void **state)
{
	AUTO_FREE char *line = NULL, *theirs = NULL;
	struct ssh_ca *ca, *again;
	struct stat st;
	mode_t old = umask(0);

	ca = open_ca("user_ca");
	umask(old);
	again = open_ca("user_ca");
	assert_true(ssh_pubkey_equal(ssh_ca_public(ca), ssh_ca_public(again)));
	assert_int_equal(stat("user_ca", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	theirs = sshtest_keygen("-y", "-f", "user_ca");
	theirs[strcspn(theirs, "\n")] = '\0';
	line = ssh_ca_public_line(ca);
	assert_string_equal(line, theirs);
	contains(line, " user_ca");
	ssh_ca_free(ca);
	ssh_ca_free(again);
}

static void
keys_of_ssh_keygen_load_too(void **state)
{
	AUTO_FREE char *line = NULL, *pub = NULL;
	struct ssh_ca *ca;

	/* Comments of all lengths, so that all lengths of padding occur. */
	for (size_t n = 0; n < 9; n++) {
		AUTO_FREE char *name = xasprintf("made-%zu", n);

		free(sshtest_keygen(
		    "-q", "-t", "ed25519", "-N", "", "-C", &"12345678"[n], "-f", name));
		ssh_ca_free(open_ca(name));
	}
	ca = open_ca("made-8");
	pub = sshtest_read("made-8.pub", NULL);
	line = ssh_ca_public_line(ca);
	assert_memory_equal(line, pub, 80); /* type and key: the comment is ours */
	ssh_ca_free(ca);
}

static void
refused(const char *name, enum err_code code, const char *why)
{
	struct ssh_ca *ca;
	struct err err = {0};

	if (ssh_ca_load_or_create(AT_FDCWD, name, &ca, &err) == 0)
		fail_msg("accepted %s, wanted '%s'", name, why);
	contains(err.msg, why);
	assert_int_equal(err.code, code);
}

static void
refuses_what_others_can_read(void **state)
{
	struct ssh_ca *ca = open_ca("open");

	ssh_ca_free(ca);
	for (mode_t bit = 1; bit <= 040; bit <<= 1) {
		assert_int_equal(chmod("open", 0600 | bit), 0);
		refused("open", ERR_NOT_PERMITTED, "others may read or write");
	}
	assert_int_equal(chmod("open", 0600), 0);
	ssh_ca_free(open_ca("open"));
	if (geteuid() != 0)
		return;
	assert_int_equal(chown("open", 12345, 12345), 0);
	refused("open", ERR_NOT_PERMITTED, "belongs to uid 12345");
}

static void
refuses_links_and_directories(void **state)
{
	assert_int_equal(symlink("target", "link"), 0);
	refused("link", ERR_INTERNAL, "link");
	assert_int_equal(access("target", F_OK), -1);
	assert_int_equal(mkdir("dir", 0700), 0);
	refused("dir", ERR_INVALID, "not a regular file");
	assert_int_equal(mkfifo("fifo", 0600), 0);
	refused("fifo", ERR_INVALID, "not a regular file");
}

static void
refuses_the_wrong_kind_of_key(void **state)
{
	AUTO_FREE char *huge = xcalloc(1, 100000);

	free(sshtest_keygen("-q", "-t", "ecdsa", "-N", "", "-f", "ec"));
	refused("ec", ERR_INVALID, "not an Ed25519 key");
	free(sshtest_keygen("-q", "-t", "ed25519", "-N", "secret", "-f", "locked"));
	refused("locked", ERR_INVALID, "passphrase");
	sshtest_write("empty", "", 0);
	refused("empty", ERR_INVALID, "not the text");
	memset(huge, 'A', 100000);
	sshtest_write("huge", huge, 100000);
	refused("huge", ERR_INVALID, "too large");
}

/* A changed character is noticed wherever it stands, but for those of the key
   derivation's name, which is not used without a passphrase ("none": at most 6), and of
   the comment ("d": at most 2). */
static void
every_damaged_byte_is_noticed(void **state)
{
	AUTO_FREE char *text = NULL, *after = NULL;
	size_t unnoticed = 0, n;
	struct ssh_ed25519 pair;
	struct err err;

	ssh_ca_free(open_ca("d"));
	text = sshtest_read("d", &n);
	for (size_t i = 0; i < n - 1; i++) {
		char was = text[i];

		text[i] = was == 'B' ? 'C' : 'B';
		unnoticed += ssh_ed25519_from_text(text, n, &pair, &err) == 0;
		text[i] = was;
		assert_int_equal(ssh_ed25519_from_text(text, i, &pair, &err), -1);
	}
	assert_in_range(unnoticed, 0, 6 + 2);
	text[n / 2] = text[n / 2] == 'B' ? 'C' : 'B';
	sshtest_write("d", text, n);
	refused("d", ERR_INVALID, "d: ");
	after = sshtest_read("d", &n);
	assert_string_equal(after, text);
}

/* Many processes make the same CA at once: all end up with one key, and nothing is left
 * behind. */
static void
one_key_however_many_make_it(void **state)
{
	AUTO_FREE char *left = NULL;
	pid_t pids[8];
	int fds[2], status;
	char first[65] = "", line[65] = "";

	assert_int_equal(mkdir("race", 0700), 0);
	assert_int_equal(pipe(fds), 0);
	for (size_t i = 0; i < 8; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			int dirfd = open("race", O_RDONLY | O_DIRECTORY);
			struct ssh_ca *ca;
			struct err err;

			if (ssh_ca_load_or_create(dirfd, "ca", &ca, &err) < 0)
				_exit(1);
			/* "ssh-ed25519 " and a fixed prefix come first; one write is
			 * atomic */
			if (write(fds[1], ssh_ca_public_line(ca) + 16, 64) != 64)
				_exit(1);
			_exit(0);
		}
	}
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
		assert_int_equal(read(fds[0], line, 64), 64);
		if (i == 0)
			memcpy(first, line, sizeof(first));
		assert_string_equal(line, first);
	}
	close(fds[0]);
	close(fds[1]);
	left = sshtest_run(&status, (const char *const[]){"ls", "-A", "race", NULL});
	assert_string_equal(left, "ca\n");
}

static const char *const two[] = {"m-0123456789ab", "other"};

static struct ssh_cert_spec
user_spec(void)
{
	return (struct ssh_cert_spec){.kind = SSH_CERT_USER,
	    .serial = 0xfedcba9876543210,
	    .key_id = "r-0123456789ab alice",
	    .principals = two,
	    .principals_n = 2,
	    .valid_after = 1700000000,
	    .valid_before = 1700003600,
	    .force_command = "echo \"hi\" 'there'",
	    .permit = SSH_PERMIT_PTY | SSH_PERMIT_PORT_FORWARDING};
}

static void
load_key(const char *pub, struct ssh_pubkey *key)
{
	AUTO_FREE char *text = NULL;
	struct err err;
	size_t n;

	text = sshtest_read(pub, &n);
	if (ssh_pubkey_parse(text, n, key, &err) < 0)
		fail_msg("%s", err.msg);
}

static char *
show(const char *line)
{
	sshtest_write("x-cert.pub", line, strlen(line));
	return sshtest_keygen("-L", "-f", "x-cert.pub");
}

static void
keygen_reads_a_user_certificate(void **state)
{
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	AUTO_FREE char *line = NULL, *text = NULL, *ours = NULL, *theirs = NULL;
	struct ssh_ca *ca = open_ca("user_ca");
	struct ssh_cert_spec spec = user_spec();
	struct err err;

	free(sshtest_keygen("-q", "-t", "ed25519", "-N", "", "-C", "a b", "-f", "user"));
	load_key("user.pub", &key);
	assert_int_equal(ssh_ca_sign(ca, &key, &spec, &line, &err), 0);
	assert_memory_equal(line, "ssh-ed25519-cert-v01@openssh.com AAAA", 37);
	assert_string_equal(strrchr(line, ' ') - 2, " a b");
	text = show(line);
	ours = ssh_pubkey_fingerprint(&key);
	theirs = ssh_pubkey_fingerprint(ssh_ca_public(ca));
	contains(text, "Type: ssh-ed25519-cert-v01@openssh.com user certificate");
	contains(text, ours);
	contains(text, theirs);
	contains(text, "Key ID: \"r-0123456789ab alice\"");
	contains(text, "Serial: 18364758544493064720\n");
	contains(text, "Valid: from 2023-11-14T22:13:20 to 2023-11-14T23:13:20\n");
	contains(text,
	    "Principals: \n                m-0123456789ab\n                other\n");
	contains(text, "force-command echo \"hi\" 'there'\n");
	contains(text, "Extensions: \n                permit-port-forwarding\n"
		       "                permit-pty\n");
	assert_null(strstr(text, "permit-agent"));
	ssh_ca_free(ca);
}

static void
keygen_reads_a_host_certificate(void **state)
{
	AUTO_FREE char *line = NULL, *text = NULL, *theirs = NULL, *pub = NULL;
	struct ssh_hostkey host;
	struct ssh_ca *ca = open_ca("host_ca");
	struct ssh_cert_spec spec = {.kind = SSH_CERT_HOST,
	    .serial = 7,
	    .key_id = "m-0123456789ab",
	    .principals = two,
	    .principals_n = 1,
	    .valid_after = 1700000000,
	    .valid_before = UINT64_MAX};
	struct err err;

	assert_int_equal(ssh_hostkey_generate("m-0123456789ab", &host, &err), 0);
	sshtest_write("hostkey", host.text.data, host.text.len);
	theirs = sshtest_keygen("-y", "-f", "hostkey");
	pub = ssh_pubkey_line(&host.pub);
	theirs[strcspn(theirs, "\n")] = '\0';
	assert_string_equal(pub, theirs);
	assert_int_equal(ssh_ca_sign(ca, &host.pub, &spec, &line, &err), 0);
	text = show(line);
	contains(text, "host certificate");
	contains(text, "Valid: after 2023-11-14T22:13:20\n");
	contains(text, "Critical Options: (none)\n");
	contains(text, "Extensions: (none)\n");
	ssh_hostkey_fini(&host);
	ssh_ca_free(ca);
}

static void
check_parsed(const char *line, const struct ssh_pubkey *key, const struct ssh_ca *ca)
{
	AUTO_CERT struct ssh_cert cert = {0};
	struct err err;

	if (ssh_cert_parse(line, strlen(line), &cert, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(cert.kind, SSH_CERT_USER);
	assert_true(cert.serial == 0xfedcba9876543210);
	assert_string_equal(cert.key_id, "r-0123456789ab alice");
	assert_int_equal(cert.principals_n, 2);
	assert_string_equal(cert.principals[1], "other");
	assert_true(cert.valid_after == 1700000000 && cert.valid_before == 1700003600);
	assert_string_equal(cert.force_command, "echo \"hi\" 'there'");
	assert_int_equal(cert.permit, SSH_PERMIT_PTY | SSH_PERMIT_PORT_FORWARDING);
	assert_true(ssh_pubkey_equal(&cert.key, key));
	assert_string_equal(cert.key.comment, key->comment);
	assert_true(ssh_pubkey_equal(&cert.ca, ssh_ca_public(ca)));
	assert_int_equal(ssh_cert_verify(&cert, ssh_ca_public(ca), &err), 0);
}

static void
every_type_of_key_can_be_signed(void **state)
{
	static const char *const types[][2] = {{"ecdsa", "256"}, {"ecdsa", "384"},
	    {"ecdsa", "521"}, {"rsa", "2048"}, {"rsa", "4096"}, {"ed25519", "256"}};
	struct ssh_ca *ca = open_ca("user_ca");
	struct ssh_cert_spec spec = user_spec();

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		AUTO_PUBKEY struct ssh_pubkey key = {0};
		AUTO_FREE char *name = xasprintf("t%zu", i),
			       *pub = xasprintf("t%zu.pub", i);
		AUTO_FREE char *line = NULL;
		struct err err;

		free(sshtest_keygen(
		    "-q", "-t", types[i][0], "-b", types[i][1], "-N", "", "-f", name));
		load_key(pub, &key);
		assert_int_equal(ssh_ca_sign(ca, &key, &spec, &line, &err), 0);
		free(show(line));
		check_parsed(line, &key, ca);
	}
	ssh_ca_free(ca);
}

static void
security_keys_can_be_signed(void **state)
{
	static const char *const types[][2] = {{"sk-ssh-ed25519@openssh.com", "t5.pub"},
	    {"sk-ecdsa-sha2-nistp256@openssh.com", "t0.pub"}};
	struct ssh_ca *ca = open_ca("user_ca");
	struct ssh_cert_spec spec = user_spec();

	for (size_t i = 0; i < 2; i++) {
		AUTO_PUBKEY struct ssh_pubkey plain = {0}, key = {0};
		AUTO_BUF struct buf blob = BUF_INIT(0);
		AUTO_FREE char *line = NULL, *text = NULL;
		size_t skip;
		struct err err;

		load_key(types[i][1], &plain);
		skip = 4 + strlen(plain.type);
		wire_put_cstr(&blob, types[i][0]);
		buf_add(&blob, plain.blob + skip, plain.blob_len - skip);
		wire_put_cstr(&blob, "ssh:hearth");
		assert_int_equal(
		    ssh_pubkey_from_blob(blob.data, blob.len, "sk", &key, &err), 0);
		assert_int_equal(ssh_ca_sign(ca, &key, &spec, &line, &err), 0);
		text = show(line);
		contains(text, i ? "ECDSA-SK-CERT" : "ED25519-SK-CERT");
		check_parsed(line, &key, ca);
	}
	ssh_ca_free(ca);
}

static void
certificates_of_ssh_keygen_are_read(void **state)
{
	AUTO_CERT struct ssh_cert cert = {0};
	AUTO_PUBKEY struct ssh_pubkey ca = {0};
	AUTO_FREE char *text = NULL;
	struct err err;
	size_t n;

	free(sshtest_keygen("-q", "-t", "ed25519", "-N", "", "-f", "theirs"));
	free(sshtest_keygen("-q", "-t", "ed25519", "-N", "", "-f", "theirca"));
	free(sshtest_keygen("-q", "-s", "theirca", "-I", "them", "-n", "a,b,c", "-z",
	    "42", "-V", "20200101000000:20300101000000", "-O",
	    "source-address=10.0.0.0/8", "theirs.pub"));
	text = sshtest_read("theirs-cert.pub", &n);
	load_key("theirca.pub", &ca);
	if (ssh_cert_parse(text, n, &cert, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(cert.key_id, "them");
	assert_int_equal(cert.serial, 42);
	assert_int_equal(cert.principals_n, 3);
	assert_int_equal(cert.permit, SSH_PERMIT_ALL);
	assert_null(cert.force_command);
	assert_int_equal(ssh_cert_verify(&cert, &ca, &err), 0);
}

/* A changed byte, wherever it stands, makes it unreadable or its signature wrong. */
static void
every_changed_byte_breaks_the_signature(void **state)
{
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	AUTO_FREE char *line = NULL;
	AUTO_BUF struct buf blob = BUF_INIT(0);
	struct ssh_ca *ca = open_ca("user_ca"), *other = open_ca("other_ca");
	struct ssh_cert_spec spec = user_spec();
	struct ssh_cert cert;
	struct wire_str rest;
	struct err err;

	load_key("user.pub", &key);
	assert_int_equal(ssh_ca_sign(ca, &key, &spec, &line, &err), 0);
	assert_int_equal(ssh_cert_parse(line, strlen(line), &cert, &err), 0);
	assert_int_equal(ssh_cert_verify(&cert, ssh_ca_public(other), &err), -1);
	contains(err.msg, "another CA signed it");
	ssh_cert_fini(&cert);
	rest = (struct wire_str){(const uint8_t *)line, strlen(line)};
	(void)wire_word(&rest);
	assert_true(wire_base64_decode(wire_word(&rest), &blob));
	for (size_t i = 0; i < blob.len; i++) {
		AUTO_BUF struct buf text = BUF_INIT(0);

		blob.data[i] ^= 1;
		buf_str(&text, "ssh-ed25519-cert-v01@openssh.com ");
		wire_base64_encode(blob.data, blob.len, true, &text);
		blob.data[i] ^= 1;
		if (ssh_cert_parse(text.data, text.len, &cert, &err) < 0)
			continue;
		if (ssh_cert_verify(&cert, ssh_ca_public(ca), &err) == 0)
			fail_msg("byte %zu may change", i);
		ssh_cert_fini(&cert);
	}
	for (size_t extra = 0; extra < 2;
	     extra++) { /* also: the blob with a byte behind it */
		AUTO_BUF struct buf text = BUF_INIT(0);

		buf_add(&blob, "", extra);
		buf_str(&text, "ssh-ed25519-cert-v01@openssh.com ");
		wire_base64_encode(blob.data, blob.len, true, &text);
		assert_int_equal(
		    ssh_cert_parse(text.data, text.len, &cert, &err), extra ? -1 : 0);
		if (!extra)
			ssh_cert_fini(&cert);
	}
	for (size_t n = 0; n < strlen(line) - strlen(" a b"); n++)
		assert_int_equal(ssh_cert_parse(line, n, &cert, &err), -1);
	ssh_ca_free(ca);
	ssh_ca_free(other);
}

static void
refuses_a_validity_that_ends_first(void **state)
{
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	struct ssh_ca *ca = open_ca("user_ca");
	struct ssh_cert_spec spec = user_spec();
	char *line = NULL;
	struct err err;

	load_key("user.pub", &key);
	spec.valid_before = spec.valid_after;
	assert_int_equal(ssh_ca_sign(ca, &key, &spec, &line, &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
	assert_null(line);
	ssh_ca_free(ca);
}

static void
no_two_certificates_are_alike(void **state)
{
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	AUTO_FREE char *a = NULL, *b = NULL;
	struct ssh_ca *ca = open_ca("user_ca");
	struct ssh_cert_spec spec = user_spec();
	struct err err;

	load_key("user.pub", &key);
	assert_int_equal(ssh_ca_sign(ca, &key, &spec, &a, &err), 0);
	assert_int_equal(ssh_ca_sign(ca, &key, &spec, &b, &err), 0);
	assert_string_not_equal(a, b); /* the nonce */
	ssh_ca_free(ca);
}

static void
known_hosts_line_is_read_by_keygen(void **state)
{
	AUTO_FREE char *line = NULL, *text = NULL, *print = NULL;
	struct ssh_ca *ca = open_ca("host_ca");

	line = ssh_ca_known_hosts_line(ca, "m-0123456789ab");
	assert_memory_equal(line, "@cert-authority m-0123456789ab ssh-ed25519 AAAA", 47);
	sshtest_write("known_hosts", line, strlen(line));
	print = ssh_pubkey_fingerprint(ssh_ca_public(ca));
	text = sshtest_keygen("-l", "-F", "m-0123456789ab", "-f", "known_hosts");
	contains(text, print);
	contains(text, "CA");
	ssh_ca_free(ca);
}

static double
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

#define RUNS 500

static void
print_times(const char *what, double *us)
{
	qsort(us, RUNS, sizeof(*us), by_value);
	print_message("%-28s min %.1f, median %.1f, p99 %.1f us\n", what, us[0],
	    us[RUNS / 2], us[RUNS * 99 / 100]);
}

static void
how_long_it_takes(void **state)
{
	static const char *const keys[] = {"user.pub", "t0.pub", "t4.pub"};
	struct ssh_ca *ca = open_ca("user_ca");
	struct ssh_cert_spec spec = user_spec();
	double us[RUNS];
	struct err err;

	for (size_t k = 0; k < 3; k++) {
		AUTO_PUBKEY struct ssh_pubkey key = {0};
		AUTO_FREE char *text = NULL;
		size_t n;

		load_key(keys[k], &key);
		for (size_t i = 0; i < RUNS; i++) {
			double from = now_us();
			char *line;

			assert_int_equal(ssh_ca_sign(ca, &key, &spec, &line, &err), 0);
			us[i] = now_us() - from;
			free(line);
		}
		print_times(k == 0   ? "sign ed25519"
			    : k == 1 ? "sign ecdsa-256"
				     : "sign rsa-4096",
		    us);
		text = sshtest_read(keys[k], &n);
		for (size_t i = 0; i < RUNS; i++) {
			double from = now_us();
			struct ssh_pubkey again;

			assert_int_equal(ssh_pubkey_parse(text, n, &again, &err), 0);
			us[i] = now_us() - from;
			ssh_pubkey_fini(&again);
		}
		print_times("parse it", us);
	}
	for (size_t i = 0; i < RUNS; i++) {
		double from = now_us();
		struct ssh_hostkey host;

		assert_int_equal(ssh_hostkey_generate("m-0123456789ab", &host, &err), 0);
		us[i] = now_us() - from;
		ssh_hostkey_fini(&host);
	}
	print_times("host key", us);
	ssh_ca_free(ca);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_file_is_an_openssh_key),
	    cmocka_unit_test(keys_of_ssh_keygen_load_too),
	    cmocka_unit_test(refuses_what_others_can_read),
	    cmocka_unit_test(refuses_links_and_directories),
	    cmocka_unit_test(refuses_the_wrong_kind_of_key),
	    cmocka_unit_test(every_damaged_byte_is_noticed),
	    cmocka_unit_test(one_key_however_many_make_it),
	    cmocka_unit_test(keygen_reads_a_user_certificate),
	    cmocka_unit_test(keygen_reads_a_host_certificate),
	    cmocka_unit_test(every_type_of_key_can_be_signed),
	    cmocka_unit_test(security_keys_can_be_signed),
	    cmocka_unit_test(certificates_of_ssh_keygen_are_read),
	    cmocka_unit_test(every_changed_byte_breaks_the_signature),
	    cmocka_unit_test(refuses_a_validity_that_ends_first),
	    cmocka_unit_test(no_two_certificates_are_alike),
	    cmocka_unit_test(known_hosts_line_is_read_by_keygen),
	    cmocka_unit_test(how_long_it_takes),
	};

	return cmocka_run_group_tests(tests, sshtest_enter, sshtest_leave);
}
