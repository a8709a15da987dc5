/* paramctl get NAME[SLICE]: values of one committed step, as text, JSON, .npy or safetensors. */
#include "worker/ctl/ctl.h"
#include "worker/ctl/get_format.h"
#include "worker/ctl/print.h"
#include "worker/ctl/values.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct get_run {
    struct get get;
    const struct ctl *ctl;
    const struct get_format *format;
};

static bool ends_with(const char *text, const char *end)
{
    size_t text_length = strlen(text), end_length = strlen(end);

    return text_length >= end_length && strcmp(text + text_length - end_length, end) == 0;
}

static enum status choose_format(const struct ctl *ctl, const struct get_format **ret_format,
                                 struct error *err)
{
    static const struct get_format *const formats[] = {&get_text, &get_npy, &get_safetensors};
    int format = ctl->format;

    if (format == FORMAT_UNSET && ctl->output && !ctl->json)
        format = ends_with(ctl->output, ".npy")           ? FORMAT_NPY
                 : ends_with(ctl->output, ".safetensors") ? FORMAT_SAFETENSORS
                                                          : FORMAT_TEXT;
    if (ctl->json && format > FORMAT_TEXT)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "get: --json and --format %s exclude each other",
                         format == FORMAT_NPY ? "npy" : "safetensors");
    *ret_format = ctl->json ? &get_json : formats[format == FORMAT_UNSET ? FORMAT_TEXT : format];
    if ((*ret_format)->binary && !ctl->output && isatty(STDOUT_FILENO))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "get: bytes are not for a terminal; say -o FILE, or send them on");
    return STATUS_OK;
}

static enum status on_begin(void *context, uint64_t step, struct error *err)
{
    struct get_run *run = context;

    if ((run->ctl->given & CTL_STEP) && step != (uint64_t)run->ctl->step)
        return error_set(err, STATUS_OUT_OF_RANGE,
                         "get '%s': step %lld is not held; the last committed one, step %llu, is",
                         run->get.name, (long long)run->ctl->step, (unsigned long long)step);
    run->get.step = step;
    run->get.written = 0;
    enum status status = output_begin(&run->get.output, err);
    return status ? status : run->format->begin(&run->get, err);
}

static enum status on_take(void *context, const void *values, uint64_t count, struct error *err)
{
    struct get_run *run = context;

    return run->format->take(&run->get, values, count, err);
}

static void say_done(const struct get *get)
{
    char shape[256];

    print_shape(get->shape, get->rank, shape, sizeof shape);
    fprintf(stderr, "paramctl: %s%s %s of step %llu is in '%s'\n", get->name, get->slice, shape,
            (unsigned long long)get->step, get->output.path);
}

enum status verb_get(struct ctl *ctl, struct error *err)
{
    struct get_run run = {.ctl = ctl};
    const struct values_sink sink = {.context = &run, .begin = on_begin, .take = on_take};
    struct variable_spec spec;
    struct selection selection;
    uint32_t id;
    enum status status = choose_format(ctl, &run.format, err);

    if (!status)
        status = ctl_find_variable(ctl, ctl->arguments[0], &id, &spec, &run.get.slice, err);
    if (!status)
        status = selection_parse(run.get.slice, spec.shape, spec.rank, &selection, err);
    if (!status)
        status = output_open(&run.get.output, ctl->output,
                             !values_in_one_part(spec.dtype, &selection), err);
    if (status)
        return status;
    run.get.name = spec.name;
    run.get.dtype = spec.dtype;
    run.get.rank = selection_shape(&selection, run.get.shape);
    run.get.element_count = selection.element_count;
    status = values_read(ctl->reader, id, spec.dtype, &selection, &sink, err);
    if (!status)
        status = run.format->end(&run.get, err);
    if (!status)
        status = output_finish(&run.get.output, err);
    if (!status && ctl->output)
        say_done(&run.get);
    output_release(&run.get.output);
    return status;
}
