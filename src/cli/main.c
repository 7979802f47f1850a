/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/opts.h"
#include "cli/reserve.h"
#include "cli/text.h"
#include "net/client.h"

#define EXIT_USAGE 2
#define EXIT_UNREACHABLE 5
#define EXIT_WRAPPED 125 /* as of docker run and env: our failure, not the command's */

static const char hours_help[] = "  --hours H   by so long, as in 2 or 0.5\n";
static const char all_help[] = "  --all   those that have ended, too\n";
static const char cancel_help[] = "  --no-wait   do not wait until all of it is undone\n";
static const char build_help[] = "  --no-wait   do not wait until it is built\n";
static const char cert_help[] =
    "  --key FILE.pub   for this public key instead of the one in use\n";
static const char trace_help[] =
    "  --format text|chrome|otlp   a timeline, Chrome trace events, or OTLP JSON\n";
static const char pool_help[] = "  --running N      keep N spare machines running\n"
				"  --stopped N      keep N spare machines stopped\n"
				"  --hibernated N   keep N spare machines hibernated\n"
				"  --max N          at most N machines in all\n";
static const char disk_help[] = "  --size S          as in 512M or 20G\n"
				"  --from SNAPSHOT   with what is in this snapshot\n";
static const char yes_help[] = "  --yes   do not ask\n";
static const char audit_help[] = "  --repair   end and close what is found\n";
static const char bench_help[] = "  --max-cost USD   stop before it costs more\n";

/* clang-format off */
static const struct command commands[] = {
	{ "reserve",       cmd_reserve,       "[OPTION]…",            "take a machine",                            reserve_help },
	{ "run",           cmd_run,           "[OPTION]… -- CMD…",    "take a machine, run a command on it, end",  reserve_help, .wraps = true },
	{ "list",          cmd_list,          "[--all]",              "your reservations",                         all_help },
	{ "show",          cmd_show,          "R",                    "all about one reservation",                 NULL },
	{ "ssh",           cmd_ssh,           "R [-- CMD…]",          "log in, or run a command",                  NULL, .wraps = true },
	{ "cert",          cmd_cert,          "R [--key FILE.pub]",   "a new certificate, and the files for ssh",  cert_help },
	{ "extend",        cmd_extend,        "R --hours H",          "keep it longer",                            hours_help },
	{ "cancel",        cmd_cancel,        "R… [--no-wait]",       "end reservations",                          cancel_help },
	{ "why",           cmd_why,           "R",                    "why it took as long as it did",             NULL },
	{ "trace",         cmd_trace,         "R [--format F]",       "every step, as a timeline",                 trace_help },
	{ "pool list",     cmd_pool_list,     "",                     "all pools",                                 NULL },
	{ "pool show",     cmd_pool_show,     "P",                    "all about one pool",                        NULL },
	{ "pool set",      cmd_pool_set,      "P OPTION…",            "how many machines to keep (operators)",     pool_help },
	{ "machine list",  cmd_machine_list,  "",                     "all machines",                              NULL },
	{ "machine show",  cmd_machine_show,  "M",                    "all about one machine",                     NULL },
	{ "disk create",   cmd_disk_create,   "NAME --size S",        "make a disk",                               disk_help },
	{ "disk list",     cmd_disk_list,     "[--all]",              "your disks; what deleted ones left, too",   NULL },
	{ "disk show",     cmd_disk_show,     "D",                    "all about one disk",                        NULL },
	{ "disk snapshot", cmd_disk_snapshot, "D",                    "keep what is on a disk now",                NULL },
	{ "disk clone",    cmd_disk_clone,    "D NAME",               "a new disk with what is on another",        NULL },
	{ "disk delete",   cmd_disk_delete,   "D [--yes]",            "delete a disk",                             yes_help },
	{ "image build",   cmd_image_build,   "NAME [--no-wait]",     "build a new version (operators)",           build_help },
	{ "image list",    cmd_image_list,    "",                     "all images",                                NULL },
	{ "image delete",  cmd_image_delete,  "NAME",                 "delete an image (operators)",               NULL },
	{ "audit",         cmd_audit,         "[--repair]",           "the ledger against what exists (operators)", audit_help },
	{ "bench",         cmd_bench,         "TECHNIQUE… | all | report", "measure ways to get a machine",         bench_help },
	{ "ssh-config",    cmd_ssh_config,    "",                     "make `ssh NAME.hearth` work, once",         NULL },
};
/* clang-format on */

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char global_help[] =
    "  --socket PATH   of hearthd ($HEARTH_SOCKET, /run/hearth/hearth.sock)\n"
    "  --json          one JSON document on stdout\n"
    "  --help          this\n";

static void
print_version(void)
{
	puts("hearth " HEARTH_VERSION);
}

static void
print_overview(void)
{
	puts("usage: hearth COMMAND [ARGUMENT]…\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		printf("  %-14s %s\n", commands[i].name, commands[i].summary);
	printf("\nR, M, D and P are names, ids, or beginnings of ids that fit only "
	       "one.\n\n%s"
	       "  --version       which hearth this is\n\n"
	       "See 'hearth COMMAND --help' and hearth(1).\n",
	    global_help);
}

static void
print_help(const struct command *c)
{
	printf("usage: hearth %s%s%s\n\n%s\n\n%s%s", c->name, c->args[0] ? " " : "",
	    c->args, c->summary, c->help ? c->help : "", global_help);
}

/* The commands that begin with `word`. */
static int
print_group(const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strncmp(commands[i].name, word, n) == 0 && commands[i].name[n] == ' ')
			printf("hearth %s %s\n    %s\n", commands[i].name,
			    commands[i].args, commands[i].summary);
	return 0;
}

/* "hearth: CMD: what: why; what to do", always one line. */
static void
print_error(const struct command *c, const struct err *err)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_str(&b, "hearth: ");
	if (c)
		buf_fmt(&b, "%s: ", c->name);
	text_clean(&b, err->msg);
	if (err->hint[0]) {
		buf_str(&b, "; ");
		text_clean(&b, err->hint);
	}
	buf_char(&b, '\n');
	fwrite(b.data, 1, b.len, stderr);
}

/* Words of argv that `name` takes; 0 when it is another command. */
static int
matches(const char *name, int argc, char **argv)
{
	const char *space = strchr(name, ' ');
	size_t n = space ? (size_t)(space - name) : strlen(name);

	if (argc < 1 || strlen(argv[0]) != n || strncmp(argv[0], name, n) != 0)
		return 0;
	if (!space)
		return 1;
	return argc > 1 && strcmp(argv[1], space + 1) == 0 ? 2 : 0;
}

/* Whether `word` is the first of commands of two. */
static bool
is_group(const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strncmp(commands[i].name, word, n) == 0 && commands[i].name[n] == ' ')
			return true;
	return false;
}

static int
exit_code(const struct cli *cli, const struct err *err)
{
	if (err->code == ERR_CANCELLED && interrupt_signal())
		return 128 + interrupt_signal();
	if (cli->command && cli->command->wraps)
		return EXIT_WRAPPED;
	if (cli->client && client_unreachable(cli->client) &&
	    err->code == ERR_UNAVAILABLE)
		return EXIT_UNREACHABLE;
	return err_info[err->code].exit_code;
}

/* stdout is checked once, at the end: a full disk or a closed pipe is a failure of ours.
 */
static int
flush(int code, const struct command *c)
{
	struct err err;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	err_set(&err, ERR_UNAVAILABLE, "cannot write the output");
	print_error(c, &err);
	return c->wraps ? EXIT_WRAPPED : 1;
}

static int
run_command(struct cli *cli, const struct command *c, int argc, char **argv)
{
	struct err err = {0};
	int code;

	cli->command = c;
	code = c->run(cli, argc, argv, &err);
	if (code >= 0 && cli->version)
		print_version();
	else if (code >= 0 && cli->help)
		print_help(c);
	if (code >= 0)
		return flush(code, c);
	if (err.code == ERR_INVALID && !err.hint[0])
		err_hint(&err, "see 'hearth %s --help'", c->name);
	print_error(c, &err);
	return exit_code(cli, &err);
}

static int
usage(const char *what, const char *word)
{
	struct err err;

	err_set(&err, ERR_INVALID, "%s%.60s%s", what, word, word[0] ? "'" : "");
	err_hint(&err, "see 'hearth help'");
	print_error(NULL, &err);
	return EXIT_USAGE;
}

static int
find_and_run(struct cli *cli, int argc, char **argv)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		int used = matches(commands[i].name, argc, argv);

		if (used)
			return run_command(cli, &commands[i], argc - used, argv + used);
	}
	if (!is_group(argv[0]))
		return usage("unknown command '", argv[0]);
	if (cli->help ||
	    (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)))
		return print_group(argv[0]);
	return argc > 1 ? usage("unknown command '", argv[1])
			: usage("what about '", argv[0]);
}

/* `hearth help [COMMAND]` */
static int
help(struct cli *cli, int argc, char **argv)
{
	if (argc == 0) {
		print_overview();
		return 0;
	}
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (matches(commands[i].name, argc, argv)) {
			print_help(&commands[i]);
			return 0;
		}
	return is_group(argv[0]) ? print_group(argv[0])
				 : usage("unknown command '", argv[0]);
}

/* The global options in front of the command; those behind it are read with the command's
   own. Returns how many words they took, or -1 - exit code. */
static int
leading_options(struct cli *cli, int argc, char **argv)
{
	int i;

	for (i = 0; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			cli->json = true;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			cli->help = true;
		} else if (strcmp(argv[i], "--version") == 0) {
			print_version();
			return -1;
		} else if (strncmp(argv[i], "--socket=", 9) == 0 && argv[i][9]) {
			cli->socket_path = argv[i] + 9;
		} else if (strcmp(argv[i], "--socket") == 0 && i + 1 < argc &&
			   argv[i + 1][0]) {
			cli->socket_path = argv[++i];
		} else if (strncmp(argv[i], "--socket", 8) == 0 &&
			   strchr("=", argv[i][8])) {
			return -1 - usage("--socket needs a path", "");
		} else {
			return -1 - usage("unknown option '", argv[i]);
		}
	}
	return i;
}

int
main(int argc, char **argv)
{
	const char *socket_path = getenv("HEARTH_SOCKET");
	struct cli cli = {0};
	int code;
	int n;

	cli.socket_path =
	    socket_path && socket_path[0] ? socket_path : "/run/hearth/hearth.sock";
	n = leading_options(&cli, argc - 1, argv + 1);
	if (n < 0)
		return -1 - n;
	argc -= n + 1;
	argv += n + 1;
	if (argc == 0 && !cli.help)
		return usage("no command", "");
	if (argc == 0 || strcmp(argv[0], "help") == 0)
		return help(&cli, argc > 0 ? argc - 1 : 0, argv + 1);
	code = find_and_run(&cli, argc, argv);
	client_free(cli.client);
	return code;
}
