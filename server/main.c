/* paramd: one server of a parameter server. Options, sockets and signals around server/server.c. */
#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/options.h"
#include "common/base/token.h"
#include "common/base/version.h"
#include "common/net/driver.h"
#include "common/tensor/kernels.h"
#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define NS_PER_MS ((uint64_t)1000000)

enum hash_choice { HASH_AUTO, HASH_ON, HASH_OFF };
static const char *const hash_choices[] = {"auto", "on", "off", NULL};

enum {
    WARN_INTERVAL_MS = 60000, /* --insecure-no-auth reminds of itself */
    RESIDENT_MS = 500,        /* between looks at this process's memory */
    FAREWELL_MS = 1000,       /* for the last frames after the end of the job */
};

struct config {
    struct option_list listen;
    const char *coordinator, *advertise, *job, *token_file, *address_file;
    int64_t servers, workers, join_ms, restart_ms, heartbeat_ms, dead_ms, staging_mib;
    int payload_hash;
    bool insecure;
};

static struct net_driver *driver; /* for the signal handlers */
static volatile sig_atomic_t caught_signal;

static void on_signal(int signal_number)
{
    caught_signal = signal_number;
    net_driver_stop(driver);
}

/* Before the driver is gone, which the handler would stop: the end has begun anyhow. */
static void ignore_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_IGN};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

/* Asked after every step, and a look at /proc takes a tenth of a small one: looked up at most twice
 * a second. */
static uint64_t resident_bytes(void)
{
    static uint64_t bytes, looked_ns;
    const struct clock clock = clock_machine();
    unsigned long long total, resident = 0;
    uint64_t now_ns = clock_now_ns(&clock);

    if (looked_ns && now_ns - looked_ns < RESIDENT_MS * NS_PER_MS)
        return bytes;
    looked_ns = now_ns;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return bytes;
    if (fscanf(file, "%llu %llu", &total, &resident) == 2)
        bytes = resident * (uint64_t)sysconf(_SC_PAGESIZE);
    fclose(file);
    return bytes;
}

static void notice(void *context, const char *line)
{
    (void)context;
    log_info("%s", line);
}

static bool parse_options(int argc, char **argv, struct config *config, int *ret_exit_code)
{
    const struct option rows[] = {
        {.group = "Where"},
        {.name = "listen",
         .value = "ADDRESS",
         .list = &config->listen,
         .help = "host:port, [ipv6]:port or unix:/path; port 0 takes a free one; may be repeated",
         .default_text = "127.0.0.1:7070"},
        {.name = "advertise",
         .value = "ADDRESS",
         .text = &config->advertise,
         .help = "where others reach this server, if not at the first --listen"},
        {.name = "coordinator",
         .value = "ADDRESS",
         .text = &config->coordinator,
         .help = "the first server; without it this server is the first one"},
        {.name = "address-file",
         .value = "FILE",
         .text = &config->address_file,
         .help = "write the advertised address there once it is known"},
        {.group = "The job (first server only; the others are told)"},
        {.name = "servers",
         .integer = &config->servers,
         .min = 1,
         .max = LIMIT_SERVERS,
         .help = "servers of the job, this one included"},
        {.name = "workers",
         .integer = &config->workers,
         .min = 1,
         .max = LIMIT_WORKERS,
         .help = "workers of the job"},
        {.name = "job",
         .value = "NAME",
         .text = &config->job,
         .environment = "PARAMD_JOB",
         .help = "name of the job",
         .default_text = "default"},
        {.group = "Time"},
        {.name = "join-timeout",
         .value = "TIME",
         .duration_ms = &config->join_ms,
         .min = 100,
         .max = 86400000,
         .help = "for everybody to be there"},
        {.name = "restart-timeout",
         .value = "TIME",
         .duration_ms = &config->restart_ms,
         .min = 0,
         .max = 86400000,
         .help = "for a lost worker to come back"},
        {.name = "heartbeat",
         .value = "TIME",
         .duration_ms = &config->heartbeat_ms,
         .min = 10,
         .max = 60000,
         .help = "between signs of life"},
        {.name = "dead-timeout",
         .value = "TIME",
         .duration_ms = &config->dead_ms,
         .min = 100,
         .max = 3600000,
         .help = "a peer that was silent for so long is given up"},
        {.group = "Safety and transport"},
        {.name = "token-file",
         .value = "FILE",
         .text = &config->token_file,
         .environment = "PARAMD_TOKEN_FILE",
         .help = "the job's token (mode 0600); peers must show the same"},
        {.name = "insecure-no-auth",
         .flag = &config->insecure,
         .help = "serve a wider address than loopback without TLS and credentials"},
        {.name = "payload-hash",
         .value = "on|off|auto",
         .choice = &config->payload_hash,
         .choices = hash_choices,
         .help = "hash tensor bytes; auto: beyond this machine only"},
        {.name = "staging",
         .value = "MIB",
         .integer = &config->staging_mib,
         .min = 1,
         .max = 1 << 20,
         .help = "memory for pushes that wait for their turn"},
    };
    const struct options options = {
        .program = "paramd",
        .usage = "[--listen ADDRESS] --servers N --workers N | --coordinator ADDRESS",
        .summary = "A server of a parameter server: owns a share of the variables and applies the "
                   "optimizer.",
        .footer = "PARAMD_LOG=debug|info|warning|error sets what is logged; "
                  "PARAMD_KERNELS=sse2|avx2|avx512\n"
                  "caps the vector width.\n",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
    };
    struct options_arguments arguments;

    return options_main(&options, argc, argv, &arguments, ret_exit_code);
}

static enum status check_config(struct config *config, bool servers_given, struct error *err)
{
    struct address address;

    if (config->listen.count == 0)
        config->listen.items[config->listen.count++] = "127.0.0.1:7070";
    if (strlen(config->job) > LIMIT_JOB_NAME_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT, "--job '%.80s': at most %d bytes",
                         config->job, LIMIT_JOB_NAME_BYTES);
    if (config->coordinator && servers_given)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--servers and --workers are for the first server; with --coordinator "
                         "this one is told");
    if (config->coordinator) {
        enum status status = address_parse(config->coordinator, &address, err);
        if (status)
            return error_wrap(err, "--coordinator");
    }
    for (size_t i = 0; i < config->listen.count; i++) {
        if (address_parse(config->listen.items[i], &address, err))
            return error_wrap(err, "--listen");
        if (!address_is_loopback(&address) && !config->insecure)
            return error_set(
                err, STATUS_INVALID_ARGUMENT,
                "--listen %s: anybody on the network could read and change the model there.\n"
                "  Listen on 127.0.0.1, [::1] or a Unix socket, or say --insecure-no-auth if the "
                "network is\n"
                "  your own. (TLS is not built into this version.)",
                config->listen.items[i]);
    }
    return STATUS_OK;
}

/* ret_address: of the first listener, with its real port. */
static enum status listen_all(const struct config *config, char *ret_address, bool *ret_wide,
                              struct error *err)
{
    *ret_wide = false;
    for (size_t i = 0; i < config->listen.count; i++) {
        char text[ADDRESS_TEXT_BYTES];
        struct address address;
        enum status status = address_parse(config->listen.items[i], &address, err);
        if (!status)
            status = net_driver_listen(driver, config->listen.items[i], text, err);
        if (status)
            return status;
        *ret_wide = *ret_wide || !address_is_loopback(&address);
        if (i == 0)
            snprintf(ret_address, ADDRESS_TEXT_BYTES, "%s", text);
    }
    return STATUS_OK;
}

/* Written beside and renamed, so a reader never sees half of it. */
static enum status write_address(const char *path, const char *address, struct error *err)
{
    char beside[4096];
    struct stat info;

    /* A device or a pipe would be gone, with a file in its place. */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "write the address to '%s': not a regular file", path);
    snprintf(beside, sizeof beside, "%s.tmp", path);
    FILE *file = fopen(beside, "w");
    if (!file || fprintf(file, "%s\n", address) < 0 || fclose(file) != 0 ||
        rename(beside, path) != 0)
        return error_set(err, STATUS_UNAVAILABLE, "write the address to '%s': %m", path);
    return STATUS_OK;
}

/* Turns until the job ends or a signal comes; then a last moment for what is still to be written.
 */
static void serve(struct server *server, const struct link_io *io, bool insecure_wide)
{
    uint64_t next_warning_ns = 0;

    while (!server->ended && !caught_signal) {
        uint64_t now = io->now_ns(io->context);
        if (insecure_wide && now >= next_warning_ns) {
            log_warning(
                "--insecure-no-auth: whoever reaches this port can read and change the model");
            next_warning_ns = now + WARN_INTERVAL_MS * NS_PER_MS;
        }
        net_driver_run_once(driver, insecure_wide ? next_warning_ns - now : UINT64_MAX);
    }
    if (caught_signal)
        server_stop(server, caught_signal == SIGINT ? EXIT_CODE_SIGINT : EXIT_CODE_SIGTERM,
                    caught_signal == SIGINT ? "the coordinator was interrupted"
                                            : "the coordinator was told to end");
    net_driver_close_listeners(driver);
    server_close_links(server);
    uint64_t until = io->now_ns(io->context) + FAREWELL_MS * NS_PER_MS;
    while (net_driver_links(driver) > 0 && io->now_ns(io->context) < until)
        net_driver_run_once(driver, 50 * NS_PER_MS);
}

static int finish(const struct server *server)
{
    bool orderly = server->exit_code == EXIT_CODE_DONE || server->exit_code == EXIT_CODE_SIGINT ||
                   server->exit_code == EXIT_CODE_SIGTERM;

    if (!orderly)
        log_error("%s", server->end_message);
    else
        log_info("%s", server->end_message);
    return server->exit_code;
}

static int run(const struct config *config, const struct token *token)
{
    struct server server;
    struct error err;
    char address[ADDRESS_TEXT_BYTES], program[LIMIT_PROGRAM_BYTES];
    bool wide;
    enum status status = net_driver_new(NULL, &driver, &err);

    if (status) {
        log_error("%s", err.message);
        return EXIT_CODE_FAILED;
    }
    catch_signals();
    struct link_io io = net_driver_io(driver);
    status = listen_all(config, address, &wide, &err);
    if (status) {
        log_error("%s", err.message);
        ignore_signals();
        net_driver_free(driver);
        return EXIT_CODE_WRONG_USE;
    }
    const char *reached_at = config->advertise ? config->advertise : address;
    snprintf(program, sizeof program, "paramd %s, pid %d", PARAMD_VERSION, (int)getpid());
    struct server_settings settings = {
        .coordinator = config->coordinator,
        .address = reached_at,
        .job = config->job,
        .token = token->bytes,
        .token_bytes = token->count,
        .program = program,
        .workers = (uint32_t)config->workers,
        .servers = (uint32_t)config->servers,
        .payload_hash = config->payload_hash == HASH_ON ||
                        (config->payload_hash == HASH_AUTO && wide),
        .staging_bytes = (uint64_t)config->staging_mib << 20,
        .heartbeat_ms = (uint64_t)config->heartbeat_ms,
        .dead_ms = (uint64_t)config->dead_ms,
        .join_ms = (uint64_t)config->join_ms,
        .restart_ms = (uint64_t)config->restart_ms,
        .resident_bytes = resident_bytes,
        .notice = notice,
    };
    status = server_init(&server, &io, &settings, &err);
    if (!status && config->address_file)
        status = write_address(config->address_file, reached_at, &err);
    int exit_code = EXIT_CODE_FAILED;
    if (status) {
        log_error("%s", err.message);
    } else {
        struct link_engine engine = server_engine(&server);
        net_driver_set_engine(driver, &engine);
        printf("paramd %s listens on %s%s%s, kernels %s\n", PARAMD_VERSION, address,
               config->advertise ? ", is reached at " : "",
               config->advertise ? config->advertise : "", kernels_width_name(kernels_width()));
        fflush(stdout);
        serve(&server, &io, wide);
        exit_code = finish(&server);
    }
    ignore_signals();
    net_driver_free(driver);
    server_release(&server);
    return exit_code;
}

int main(int argc, char **argv)
{
    struct config config = {.job = "default",
                            .servers = 1,
                            .workers = 1,
                            .join_ms = 15000,
                            .restart_ms = 60000,
                            .heartbeat_ms = 500,
                            .dead_ms = 10000,
                            .staging_mib = 64};
    struct token token = {0};
    struct error err;
    int exit_code;

    log_set_name("paramd");
    log_set_level(log_level_named(getenv("PARAMD_LOG")));
    if (!parse_options(argc, argv, &config, &exit_code))
        return exit_code;
    if (check_config(&config, config.servers != 1 || config.workers != 1, &err) ||
        (config.token_file && token_read(config.token_file, &token, &err)) ||
        kernels_limit_named(getenv("PARAMD_KERNELS"), &err)) {
        log_error("%s", err.message);
        return EXIT_CODE_WRONG_USE;
    }
    prctl(PR_SET_DUMPABLE, 0); /* the token and the model do not go into core files */
    kernels_flush_denormals();
    exit_code = run(&config, &token);
    token_release(&token);
    return exit_code;
}
