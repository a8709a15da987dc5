#include "worker/ctl/output.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* For the signal handler: removed when the user gives up. */
static char unfinished[4096];

static void on_signal(int signal_number)
{
    if (unfinished[0])
        unlink(unfinished);
    _exit(128 + signal_number);
}

static void watch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

static enum status fail(const struct output *output, const char *what, struct error *err)
{
    return error_set(err, STATUS_UNAVAILABLE, "%s %s%.300s%s: %s", what, output->path ? "'" : "",
                     output->path ? output->path : "stdout", output->path ? "'" : "",
                     strerror(errno));
}

static enum status open_beside(struct output *output, struct error *err)
{
    int length = snprintf(output->beside, sizeof output->beside, "%s.%ld.tmp", output->path,
                          (long)getpid());
    struct stat info;

    /* A device or a pipe would be gone, with a file in its place. */
    if (stat(output->path, &info) == 0 && !S_ISREG(info.st_mode))
        return error_set(err, STATUS_FAILED_PRECONDITION, "write '%.300s': not a regular file",
                         output->path);
    if (length < 0 || (size_t)length >= sizeof output->beside)
        return error_set(err, STATUS_INVALID_ARGUMENT, "write '%.80s...': the path is too long",
                         output->path);
    output->stream = fopen(output->beside, "wxe");
    if (!output->stream)
        return fail(output, "write", err);
    memcpy(unfinished, output->beside, sizeof unfinished);
    watch_signals();
    return STATUS_OK;
}

enum status output_open(struct output *ret_output, const char *path, bool may_begin_again,
                        struct error *err)
{
    struct output output = {.stream = stdout, .path = path};

    if (path) {
        enum status status = open_beside(&output, err);
        if (status)
            return status;
    } else if (may_begin_again) {
        output.spooled = true;
        output.stream = tmpfile();
        if (!output.stream)
            return fail(&output, "make a temporary file for", err);
    }
    *ret_output = output;
    return STATUS_OK;
}

enum status output_begin(struct output *output, struct error *err)
{
    bool again = output->begun;

    output->begun = true;
    if (!again)
        return STATUS_OK;
    if (output->stream == stdout)
        return error_set(err, STATUS_INTERNAL, "stdout cannot take back what it has");
    if (fflush(output->stream) != 0 || fseek(output->stream, 0, SEEK_SET) != 0 ||
        ftruncate(fileno(output->stream), 0) != 0)
        return fail(output, "write", err);
    return STATUS_OK;
}

enum status output_write(struct output *output, const void *bytes, size_t count, struct error *err)
{
    if (count > 0 && fwrite(bytes, 1, count, output->stream) != count)
        return fail(output, "write", err);
    return STATUS_OK;
}

static enum status copy_to_stdout(struct output *output, struct error *err)
{
    char bytes[1 << 16];
    size_t count;

    rewind(output->stream);
    while ((count = fread(bytes, 1, sizeof bytes, output->stream)) > 0) {
        if (fwrite(bytes, 1, count, stdout) != count)
            return fail(output, "write", err);
    }
    if (ferror(output->stream) || fflush(stdout) != 0)
        return fail(output, "write", err);
    return STATUS_OK;
}

enum status output_finish(struct output *output, struct error *err)
{
    if (fflush(output->stream) != 0 || ferror(output->stream))
        return fail(output, "write", err);
    if (output->spooled)
        return copy_to_stdout(output, err);
    if (!output->path)
        return STATUS_OK;
    int failed = fclose(output->stream);
    output->stream = NULL;
    if (failed || rename(output->beside, output->path) != 0)
        return fail(output, "write", err);
    unfinished[0] = output->beside[0] = '\0';
    return STATUS_OK;
}

void output_release(struct output *output)
{
    if ((output->path || output->spooled) && output->stream)
        fclose(output->stream);
    if (output->path && output->beside[0])
        unlink(output->beside);
    unfinished[0] = '\0';
    *output = (struct output){0};
}
