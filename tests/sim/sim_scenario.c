/*
 * Small stories with a known end: a cluster that never forms, peers that are lost for good or only
 * silent, servers that are replaced. Each must end in one message that names the thing, and the
 * right exit code.
 */
#include "common/base/exit_code.h"
#include "tests/sim/sim_scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void scenario_expect_text(struct sim *sim, int line, const char *text, const char *part)
{
    if (!strstr(text, part))
        sim_fail(sim, "scenario", "line %d: '%s' does not say '%s'", line, text, part);
}

/* The answer to a frame is FAILURE or END with this status, and says this. */
void scenario_expect_refused(struct sim *sim, int line, struct raw_link *link, enum frame_type type,
                             const ProtobufCMessage *message, enum status status, const char *part)
{
    enum frame_type answer = raw_ask(link, type, message);

    if ((answer != FRAME_FAILURE && answer != FRAME_END) || link->status != status)
        sim_fail(sim, "scenario", "line %d: %s is answered with %s, %s (%s)", line,
                 frame_type_name(type), frame_type_name(answer), status_name(link->status),
                 link->text);
    scenario_expect_text(sim, line, link->text, part);
}

void scenario_seconds(struct sim *sim, uint64_t count)
{
    sim_run_until(sim, sim->now_ns + count * SIM_S, NULL);
}

const struct server *scenario_server(struct sim *sim, uint32_t slot)
{
    return sim->servers[slot]->server;
}

/* ---- clusters that end ---- */

static void never_formed(struct sim *sim)
{
    sim_start_server(sim, 0);
    worker_start(sim, 0, 0);
    scenario_seconds(sim, 20);
    EXPECT(scenario_server(sim, 0)->ended &&
           scenario_server(sim, 0)->exit_code == EXIT_CODE_NOT_FORMED);
    EXPECT_TEXT(scenario_server(sim, 0)->end_message, "1 of 2 servers");
    EXPECT(sim->worker_exits[0] == EXIT_CODE_NOT_FORMED);
}

static void no_coordinator(struct sim *sim)
{
    sim_start_server(sim, 1);
    scenario_seconds(sim, 20);
    EXPECT(scenario_server(sim, 1)->ended &&
           scenario_server(sim, 1)->exit_code == EXIT_CODE_NOT_FORMED);
    EXPECT_TEXT(scenario_server(sim, 1)->end_message, SCENARIO_COORDINATOR);
}

static void wrong_token(struct sim *sim)
{
    sim_start_server(sim, 0);
    sim->server_token = "guess";
    sim_start_server(sim, 1);
    scenario_seconds(sim, 3);
    EXPECT(scenario_server(sim, 1)->ended &&
           scenario_server(sim, 1)->exit_code == EXIT_CODE_WRONG_USE);
    EXPECT_TEXT(scenario_server(sim, 1)->end_message, "token");
}

static bool trained_a_little(struct sim *sim)
{
    return sim_coordinator(sim)->committed_plus_1 > 5;
}

static void train_a_little(struct sim *sim)
{
    sim_start_server(sim, 0);
    sim_start_server(sim, 1);
    worker_start(sim, 0, 1);
    worker_start(sim, 1, 2);
    sim_run_until(sim, sim->now_ns + 10 * SIM_S, trained_a_little);
    EXPECT(trained_a_little(sim));
}

static void worker_lost(struct sim *sim)
{
    train_a_little(sim);
    net_process_gone(sim->workers[1], false);
    scenario_seconds(sim, 70);
    EXPECT(scenario_server(sim, 0)->exit_code == EXIT_CODE_PEER_LOST &&
           scenario_server(sim, 1)->exit_code == EXIT_CODE_PEER_LOST);
    EXPECT_TEXT(scenario_server(sim, 0)->end_message, "worker 1");
    EXPECT(sim->worker_exits[0] == EXIT_CODE_PEER_LOST);
    /* Whoever comes now is told how it ended. */
    struct sim_raw *raw = raw_new(sim);
    struct raw_link *link = raw_connect(raw, SCENARIO_COORDINATOR);
    Pmd__Hello hello = raw_hello(raw, PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_CONTROL);
    raw_ask(link, FRAME_HELLO, &hello.base);
    EXPECT(link->type == FRAME_INVALID || link->type == FRAME_FAILURE || link->type == FRAME_END);
}

static void server_lost(struct sim *sim)
{
    train_a_little(sim);
    net_process_gone(sim->servers[1], false);
    scenario_seconds(sim, 30);
    EXPECT(scenario_server(sim, 0)->exit_code == EXIT_CODE_PEER_LOST);
    EXPECT_TEXT(scenario_server(sim, 0)->end_message, "server 1");
    EXPECT(sim->worker_exits[0] == EXIT_CODE_PEER_LOST &&
           sim->worker_exits[1] == EXIT_CODE_PEER_LOST);
}

static void coordinator_lost(struct sim *sim)
{
    train_a_little(sim);
    net_process_gone(sim->servers[0], false);
    scenario_seconds(sim, 30);
    EXPECT(scenario_server(sim, 1)->exit_code == EXIT_CODE_PEER_LOST);
    EXPECT_TEXT(scenario_server(sim, 1)->end_message, SCENARIO_COORDINATOR);
    EXPECT(sim->worker_exits[0] == EXIT_CODE_PEER_LOST &&
           sim->worker_exits[1] == EXIT_CODE_PEER_LOST);
}

/* The coordinator falls silent for longer than a server waits; then it is reached again, and
 * training goes on. */
static void coordinator_silent(struct sim *sim)
{
    train_a_little(sim);
    uint64_t committed_plus_1 = sim_coordinator(sim)->committed_plus_1;
    for (struct sim_end *end = sim->ends; end; end = end->next) {
        if (end->process == sim->servers[1] && end->control)
            end->muted_until_ns = sim->now_ns + 11 * SIM_S;
    }
    scenario_seconds(sim, 14);
    EXPECT(!scenario_server(sim, 1)->ended && !scenario_server(sim, 0)->ended);
    EXPECT(sim_coordinator(sim)->committed_plus_1 > committed_plus_1 + 2);
}

static void stopped(struct sim *sim)
{
    train_a_little(sim);
    server_stop(sim->servers[0]->server, EXIT_CODE_SIGTERM, "the coordinator was told to end");
    scenario_seconds(sim, 2);
    EXPECT(scenario_server(sim, 1)->exit_code == EXIT_CODE_SIGTERM &&
           sim->worker_exits[0] == EXIT_CODE_SIGTERM);
}

static struct sim_end *control_of(struct sim *sim, const struct sim_process *process)
{
    for (struct sim_end *end = sim->ends; end; end = end->next) {
        if (end->process == process && end->control && !end->closed)
            return end;
    }
    sim_fail(sim, "scenario", "%s has no control connection", process->name);
}

/* A worker sleeps for longer than its patience, with no connection: it tries before it gives up. */
static void sleeper(struct sim *sim)
{
    train_a_little(sim);
    uint64_t committed_plus_1 = sim_coordinator(sim)->committed_plus_1;
    net_reset(control_of(sim, sim->workers[1]));
    sim_run_until(sim, sim->now_ns + 10 * SIM_MS, NULL);
    sim->workers[1]->frozen_until_ns = sim->now_ns + 15 * SIM_S;
    scenario_seconds(sim, 18);
    EXPECT(sim->worker_exits[1] == 0 &&
           sim_coordinator(sim)->committed_plus_1 > committed_plus_1 + 3);
}

/* A server that loses its connection before training keeps its place, whoever comes meanwhile. */
static void server_keeps_its_place(struct sim *sim)
{
    sim->plan.servers = 3;
    sim_start_server(sim, 0);
    sim_start_server(sim, 1);
    scenario_seconds(sim, 1);
    EXPECT(scenario_server(sim, 1)->service.server == 1);
    net_reset(control_of(sim, sim->servers[1]));
    sim_run_until(sim, sim->now_ns + 5 * SIM_MS, NULL);
    sim->servers[1]->frozen_until_ns = sim->now_ns + SIM_S;
    sim_start_server(sim, 2);
    scenario_seconds(sim, 3);
    EXPECT(scenario_server(sim, 1)->service.server == 1 &&
           scenario_server(sim, 2)->service.server == 2);
    worker_start(sim, 0, 1);
    worker_start(sim, 1, 2);
    sim_run_until(sim, sim->now_ns + 10 * SIM_S, trained_a_little);
    EXPECT(trained_a_little(sim));
}

/* Programs may take longer to start than a cluster to form; a server that is away for a moment then
 * ends nothing. */
static void late_start(struct sim *sim)
{
    sim_start_server(sim, 0);
    sim_start_server(sim, 1);
    worker_start(sim, 0, 1);
    scenario_seconds(sim, 1);
    worker_start(sim, 1, 2);
    sim_run_until(sim, sim->now_ns + 2 * SIM_MS, NULL);
    sim->workers[1]->frozen_until_ns = 17 * SIM_S;
    scenario_seconds(sim, 13);
    net_reset(control_of(sim, sim->servers[1]));
    sim_run_until(sim, sim->now_ns + 5 * SIM_MS, NULL);
    sim->servers[1]->frozen_until_ns = sim->now_ns + 2 * SIM_S;
    scenario_seconds(sim, 4);
    EXPECT(!scenario_server(sim, 0)->ended);
    sim_run_until(sim, sim->now_ns + 10 * SIM_S, trained_a_little);
    EXPECT(trained_a_little(sim));
}

/* One that dies before anything is placed may be replaced; one too many is not wanted. */
static void server_replaced(struct sim *sim)
{
    sim_start_server(sim, 0);
    sim_start_server(sim, 1);
    scenario_seconds(sim, 1);
    net_process_gone(sim->servers[1], false);
    scenario_seconds(sim, 1);
    sim_start_server(sim, 2);
    scenario_seconds(sim, 1);
    EXPECT(!scenario_server(sim, 2)->ended && scenario_server(sim, 2)->service.server == 1);
    sim_start_server(sim, 3);
    scenario_seconds(sim, 1);
    EXPECT(scenario_server(sim, 3)->ended &&
           scenario_server(sim, 3)->exit_code == EXIT_CODE_WRONG_USE);
    worker_start(sim, 0, 1);
    worker_start(sim, 1, 2);
    sim_run_until(sim, sim->now_ns + 10 * SIM_S, trained_a_little);
    EXPECT(trained_a_little(sim));
}

/* ---- all of them ---- */

struct scenario {
    const char *name;
    void (*run)(struct sim *sim);
};

static const struct scenario scenarios[] = {
    {"never_formed", never_formed},
    {"no_coordinator", no_coordinator},
    {"wrong_token", wrong_token},
    {"worker_lost", worker_lost},
    {"server_lost", server_lost},
    {"coordinator_lost", coordinator_lost},
    {"coordinator_silent", coordinator_silent},
    {"stopped", stopped},
    {"sleeper", sleeper},
    {"server_keeps_its_place", server_keeps_its_place},
    {"late_start", late_start},
    {"server_replaced", server_replaced},
    {"hellos", scenario_hellos},
    {"ranks_and_readers", scenario_ranks_and_readers},
    {"requests", scenario_requests},
    {"barriers", scenario_barriers},
    {"wrong_steps", scenario_wrong_steps},
    {"late_and_finished", scenario_late_and_finished},
    {"disagreement", scenario_disagreement},
};

static bool run_scenario(struct sim *sim, const struct scenario *scenario, bool trace)
{
    memset(sim, 0, sizeof *sim);
    sim->scenario = true;
    sim->trace = trace;
    sim->rng.state = rng_mix(1);
    plan_make(&sim->plan, 1);
    sim->plan.servers = sim->plan.workers = 2;
    sim->plan.barriers = false;
    sim->plan.send_fails_per_million = sim->plan.double_per_mille = 0;
    for (uint32_t rank = 0; rank < 2; rank++)
        sim->plan.finish_step[rank] = sim->plan.steps;
    if (setjmp(sim->failed))
        return false;
    oracle_init(sim);
    check_init(sim);
    scenario->run(sim);
    sim_release(sim);
    return true;
}

bool scenarios_run(struct sim *sim, const char *only, bool trace)
{
    size_t count = 0;

    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        if (only && strcmp(only, scenarios[i].name) != 0)
            continue;
        count++;
        if (run_scenario(sim, &scenarios[i], trace))
            continue;
        fprintf(stderr, "scenario %s: %s\n  repeat it: build/sim --scenario %s --trace\n",
                scenarios[i].name, sim->failure, scenarios[i].name);
        return false;
    }
    printf("%zu scenarios\n", count);
    return count > 0;
}
