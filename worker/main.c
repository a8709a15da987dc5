/* paramd-worker: the stock worker. Command line and signals around worker/train/run.c. */
#include "common/base/exit_code.h"
#include "common/base/options.h"
#include "common/tensor/blas.h"
#include "common/tensor/kernels.h"
#include "worker/train/run.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A step that waits for other ranks may take long; who interrupts does not want to. */
enum { FAREWELL_S = 1 };

static const char *const scale_choices[] = {"none", "unit", "standard", NULL};
static const char *const header_choices[] = {"auto", "yes", "no", NULL};

static volatile sig_atomic_t caught_signal;

static int exit_code_of_signal(int signal_number)
{
    return signal_number == SIGTERM ? EXIT_CODE_SIGTERM : EXIT_CODE_SIGINT;
}

static void on_signal(int signal_number)
{
    if (caught_signal != 0)
        _exit(exit_code_of_signal(signal_number));
    caught_signal = signal_number;
    alarm(FAREWELL_S);
}

/* Whoever waits for others in a call cannot be told otherwise; they see a lost connection. */
static void on_alarm(int signal_number)
{
    static const char message[] = "paramd-worker: interrupted while it waited\n";
    ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);

    (void)signal_number;
    (void)written;
    _exit(exit_code_of_signal(caught_signal));
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

/* What the option table writes, in its own types. */
struct settings {
    int64_t batch_size, epochs, seed, threads, join_ms;
    int scale, header;
};

static bool parse(int argc, char **argv, struct run_config *config, struct settings *settings,
                  int *ret_exit_code)
{
    const struct option rows[] = {
        {.group = "Model and data"},
        {.name = "model",
         .value = "FILE",
         .text = &config->model,
         .required = true,
         .help = "what Keras's to_json() writes for a Sequential model"},
        {.name = "train",
         .value = "FILE",
         .text = &config->train,
         .help = "CSV, or IDX images,labels; may be .gz"},
        {.name = "test",
         .value = "FILE",
         .text = &config->test,
         .help = "evaluated at the end; with --weights and no --train only that"},
        {.name = "label",
         .value = "NAME",
         .text = &config->label,
         .default_text = "the last",
         .help = "the CSV column to predict; text becomes classes"},
        {.name = "header",
         .choice = &settings->header,
         .choices = header_choices,
         .help = "whether the first line names the columns"},
        {.name = "scale",
         .choice = &settings->scale,
         .choices = scale_choices,
         .ret_given = &config->has_scale,
         .help = "features divided by 255, or by mean and deviation"},
        {.name = "validation-split",
         .value = "F",
         .number = &config->validation_split,
         .number_min = 0,
         .number_max = 1,
         .help = "the last part of --train, for validation"},
        {.group = "Training"},
        {.name = "loss",
         .value = "NAME",
         .text = &config->loss,
         .help = "Keras's name; by default the model's own"},
        {.name = "optimizer",
         .value = "NAME",
         .text = &config->optimizer,
         .help = "sgd, adagrad, adam, or Keras's JSON; by default the model's own"},
        {.name = "metrics",
         .value = "A,B",
         .text = &config->metrics,
         .help = "Keras's names, or none; by default the model's, or accuracy"},
        {.name = "learning-rate",
         .value = "X",
         .number = &config->learning_rate,
         .ret_given = &config->has_learning_rate,
         .default_text = "",
         .help = "instead of the optimizer's"},
        {.name = "batch-size",
         .integer = &settings->batch_size,
         .min = 1,
         .max = 1 << 24,
         .help = "examples a step, all workers together"},
        {.name = "epochs",
         .integer = &settings->epochs,
         .min = 1,
         .max = 1000000,
         .help = "passes over the examples"},
        {.name = "seed",
         .integer = &settings->seed,
         .min = 0,
         .max = INT64_MAX,
         .help = "of initial values and the order of examples"},
        {.name = "no-shuffle", .flag = &config->no_shuffle, .help = "keep the order of the file"},
        {.name = "threads",
         .integer = &settings->threads,
         .min = 1,
         .max = 1024,
         .help = "of BLAS; another number may change the last bits"},
        {.group = "Cluster"},
        {.name = "coordinator",
         .value = "ADDRESS",
         .text = &config->coordinator,
         .environment = "PARAMD_COORDINATOR",
         .help = "of the cluster to join; without it alone"},
        {.name = "join-timeout",
         .value = "TIME",
         .duration_ms = &settings->join_ms,
         .min = 100,
         .max = 86400000,
         .help = "for all servers to be there"},
        {.group = "Results"},
        {.name = "weights",
         .value = "FILE",
         .text = &config->weights,
         .help = "safetensors to start from"},
        {.name = "save", .value = "FILE", .text = &config->save, .help = "write the weights there"},
        {.name = "history",
         .value = "FILE",
         .text = &config->history,
         .help = "write a CSV row there for every epoch"},
        {.name = "predict",
         .value = "FILE",
         .text = &config->predict,
         .help = "predict from --weights instead of training"},
        {.name = "out",
         .value = "FILE.npy",
         .text = &config->out,
         .help = "write predictions there"},
    };
    const struct options options = {
        .program = "paramd-worker",
        .usage = "--model FILE --train FILE [options]",
        .summary = "Trains a model, alone or as a worker of a paramd cluster.",
        .footer = "PARAMD_KERNELS=sse2|avx2|avx512 caps the vector width.\n",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
    };
    struct options_arguments arguments;

    return options_main(&options, argc, argv, &arguments, ret_exit_code);
}

int main(int argc, char **argv)
{
    struct run_config config = {.stop = &caught_signal, .digests = getenv("PARAMD_TRACE_DIGESTS")};
    struct settings settings = {.batch_size = 32, .epochs = 1, .threads = 1, .join_ms = 15000};
    struct error err = {0};
    int exit_code = EXIT_CODE_WRONG_USE;

    blas_prepare_environment(argv);
    if (!parse(argc, argv, &config, &settings, &exit_code))
        return exit_code;
    if (kernels_limit_named(getenv("PARAMD_KERNELS"), &err)) {
        fprintf(stderr, "paramd-worker: %s\n", err.message);
        return EXIT_CODE_WRONG_USE;
    }
    config.batch_size = (uint64_t)settings.batch_size;
    config.epochs = (uint64_t)settings.epochs;
    config.seed = (uint64_t)settings.seed;
    config.threads = (unsigned)settings.threads;
    config.join_timeout_ms = (uint32_t)settings.join_ms;
    config.scale = (enum scale_kind)settings.scale;
    config.header = (enum data_header)settings.header;
    catch_signals();
    kernels_flush_denormals();
    blas_set_threads(config.threads);
    if (run(&config, &exit_code, &err))
        fprintf(stderr, "paramd-worker: %s\n", err.message);
    return caught_signal != 0 && exit_code != EXIT_CODE_DONE ? exit_code_of_signal(caught_signal)
                                                             : exit_code;
}
