/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: what it costs to start a program and wait for its end. The commands take turns, so
 * that drift of the machine meets all of them; the first round is thrown away. Prints one
 * JSON array of milliseconds for each command, in their order.
 *
 *   spawn_times ROUNDS -- COMMAND ARG... [-- COMMAND ARG...]...
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/xalloc.h"

#define COMMANDS_MAX 16
#define ROUNDS_MAX 100000

static char **commands[COMMANDS_MAX];
static double *took_ms[COMMANDS_MAX];
static int n_commands;
static posix_spawn_file_actions_t quiet;

static void __attribute__((noreturn)) die(const char *what, const char *why)
{
	(void)fprintf(stderr, "spawn_times: %s: %s\n", what, why);
	exit(1);
}

static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static double
run(char **argv)
{
	double began = now_ms();
	pid_t pid;
	int status;
	int rc = posix_spawn(&pid, argv[0], &quiet, NULL, argv, environ);

	if (rc != 0)
		die(argv[0], strerror(rc));
	if (waitpid(pid, &status, 0) < 0)
		die(argv[0], strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		die(argv[0], "did not exit with 0");
	return now_ms() - began;
}

/* Splits the arguments at each "--", in place. */
static void
find_commands(char **argv)
{
	for (; *argv; argv++) {
		if (strcmp(*argv, "--") != 0)
			continue;
		*argv = NULL;
		if (n_commands == COMMANDS_MAX || !argv[1])
			die("usage", "spawn_times ROUNDS -- COMMAND ARG... [-- COMMAND "
				     "ARG...]...");
		commands[n_commands++] = argv + 1;
	}
}

static void
print(const double *ms, int n, const char *end)
{
	printf("[");
	for (int i = 0; i < n; i++)
		printf("%s%.4f", i ? ", " : "", ms[i]);
	printf("]%s\n", end);
}

int
main(int argc, char **argv)
{
	long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

	find_commands(argv);
	if (rounds < 1 || rounds > ROUNDS_MAX || n_commands == 0)
		die("usage",
		    "spawn_times ROUNDS -- COMMAND ARG... [-- COMMAND ARG...]...");
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
	for (int c = 0; c < n_commands; c++)
		took_ms[c] = xcalloc((size_t)rounds + 1, sizeof(**took_ms));
	for (long i = 0; i <= rounds; i++)
		for (int c = 0; c < n_commands; c++)
			took_ms[c][i] = run(commands[c]);
	printf("[");
	for (int c = 0; c < n_commands; c++)
		print(took_ms[c] + 1, (int)rounds, c + 1 < n_commands ? "," : "]");
	posix_spawn_file_actions_destroy(&quiet);
	return 0;
}
