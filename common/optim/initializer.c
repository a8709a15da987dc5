#include "common/optim/initializer.h"

#include "common/tensor/random.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Keras brings each word of a seed into this range before TensorFlow sees it. */
static const int64_t SEED_MODULUS = 2147483646;

/* The standard deviation of a normal distribution cut at 2, by which Keras divides so that the cut
 * one has what was asked for. */
static const double TRUNCATED_STDDEV = 0.87962566103423978;

static struct rng_philox stream_of_seed(int64_t seed)
{
    int64_t reduced = seed % SEED_MODULUS;

    if (reduced < 0) /* Python's remainder has the sign of the divisor */
        reduced += SEED_MODULUS;
    return rng_stateless(reduced, 0);
}

static enum status fill_constant(double value, enum dtype dtype, size_t count, void *ret_values,
                                 struct error *err)
{
    switch (dtype) {
    case DTYPE_FLOAT32:
        for (size_t i = 0; i < count; i++)
            ((float *)ret_values)[i] = (float)value;
        return STATUS_OK;
    case DTYPE_FLOAT64:
        for (size_t i = 0; i < count; i++)
            ((double *)ret_values)[i] = value;
        return STATUS_OK;
    case DTYPE_INT64:
        /* 2^63 is the first double beyond int64. */
        if (!(value >= -0x1p63 && value < 0x1p63) || value != trunc(value))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "initialize an int64 variable with %g: that is no int64 number",
                             value);
        for (size_t i = 0; i < count; i++)
            ((int64_t *)ret_values)[i] = (int64_t)value;
        return STATUS_OK;
    case DTYPE_INVALID:
        break;
    }
    return error_set(err, STATUS_INVALID_ARGUMENT, "initialize a variable of unknown dtype %d",
                     (int)dtype);
}

enum status initializer_fill(const struct initializer *initializer, enum dtype dtype,
                             uint64_t first, size_t count, void *ret_values, struct error *err)
{
    struct rng_philox stream;
    float a = (float)initializer->a, b = (float)initializer->b;

    switch (initializer->kind) {
    case INITIALIZER_ZEROS:
    case INITIALIZER_ASSIGNED: /* until rank 0 has pushed the values */
        return fill_constant(0.0, dtype, count, ret_values, err);
    case INITIALIZER_ONES:
        return fill_constant(1.0, dtype, count, ret_values, err);
    case INITIALIZER_CONSTANT:
        return fill_constant(initializer->a, dtype, count, ret_values, err);
    case INITIALIZER_UNIFORM:
    case INITIALIZER_NORMAL:
    case INITIALIZER_TRUNCATED_NORMAL:
        break;
    default:
        return error_set(err, STATUS_INVALID_ARGUMENT, "no initializer has the number %d",
                         (int)initializer->kind);
    }
    if (dtype != DTYPE_FLOAT32)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "a random initializer makes float32 values; the variable is %s",
                         dtype_name(dtype));
    stream = stream_of_seed(initializer->seed);
    if (initializer->kind == INITIALIZER_UNIFORM)
        random_uniform(&stream, a, b, first, count, ret_values);
    else if (initializer->kind == INITIALIZER_NORMAL)
        random_normal(&stream, a, b, first, count, ret_values);
    else
        random_truncated_normal(&stream, a, b, first, count, ret_values);
    return STATUS_OK;
}

/* How a name's numbers are made: from arguments, or from the shape (VarianceScaling and its
 * presets). */
enum family {
    FAMILY_ZEROS,
    FAMILY_ONES,
    FAMILY_CONSTANT,
    FAMILY_RANGE,
    FAMILY_NORMAL,
    FAMILY_SCALING,
    FAMILY_PRESET
};

struct named {
    const char *name, *snake_name;
    enum family family;
    enum initializer_kind kind; /* of RANGE and NORMAL */
    double scale;               /* the rest: of PRESET, and defaults of SCALING */
    const char *mode, *distribution;
};

static const struct named named_initializers[] = {
    {"Constant", "constant", FAMILY_CONSTANT, INITIALIZER_CONSTANT, 0, NULL, NULL},
    {"GlorotNormal", "glorot_normal", FAMILY_PRESET, 0, 1.0, "fan_avg", "truncated_normal"},
    {"GlorotUniform", "glorot_uniform", FAMILY_PRESET, 0, 1.0, "fan_avg", "uniform"},
    {"HeNormal", "he_normal", FAMILY_PRESET, 0, 2.0, "fan_in", "truncated_normal"},
    {"HeUniform", "he_uniform", FAMILY_PRESET, 0, 2.0, "fan_in", "uniform"},
    {"LecunNormal", "lecun_normal", FAMILY_PRESET, 0, 1.0, "fan_in", "truncated_normal"},
    {"LecunUniform", "lecun_uniform", FAMILY_PRESET, 0, 1.0, "fan_in", "uniform"},
    {"Ones", "ones", FAMILY_ONES, INITIALIZER_ONES, 0, NULL, NULL},
    {"RandomNormal", "random_normal", FAMILY_NORMAL, INITIALIZER_NORMAL, 0, NULL, NULL},
    {"RandomUniform", "random_uniform", FAMILY_RANGE, INITIALIZER_UNIFORM, 0, NULL, NULL},
    {"TruncatedNormal", "truncated_normal", FAMILY_NORMAL, INITIALIZER_TRUNCATED_NORMAL, 0, NULL,
     NULL},
    {"VarianceScaling", "variance_scaling", FAMILY_SCALING, 0, 1.0, "fan_in", "truncated_normal"},
    {"Zeros", "zeros", FAMILY_ZEROS, INITIALIZER_ZEROS, 0, NULL, NULL},
};
enum { NAMED_COUNT = sizeof named_initializers / sizeof named_initializers[0] };

static const struct named *find_named(const char *name)
{
    for (size_t i = 0; i < NAMED_COUNT; i++) {
        if (strcasecmp(name, named_initializers[i].name) == 0 ||
            strcasecmp(name, named_initializers[i].snake_name) == 0)
            return &named_initializers[i];
    }
    return NULL;
}

/* What initializer_named was given, for the functions below. */
struct request {
    const struct named *named;
    const struct initializer_argument *arguments;
    size_t argument_count;
    const char *mode, *distribution;
    const uint64_t *shape;
    size_t rank;
};

static double argument(const struct request *request, const char *key, double otherwise)
{
    for (size_t i = 0; i < request->argument_count; i++) {
        if (strcmp(request->arguments[i].key, key) == 0)
            return request->arguments[i].value;
    }
    return otherwise;
}

/* Only keys that Keras has for this initializer; each a finite number. */
static enum status check_arguments(const struct request *request, struct error *err)
{
    static const char *const keys[][3] = {
        [FAMILY_ZEROS] = {NULL},
        [FAMILY_ONES] = {NULL},
        [FAMILY_CONSTANT] = {"value"},
        [FAMILY_RANGE] = {"minval", "maxval"},
        [FAMILY_NORMAL] = {"mean", "stddev"},
        [FAMILY_SCALING] = {"scale"},
        [FAMILY_PRESET] = {NULL},
    };

    for (size_t i = 0; i < request->argument_count; i++) {
        const struct initializer_argument *given = &request->arguments[i];
        const char *const *known = keys[request->named->family];
        size_t k = 0;

        while (known[k] && strcmp(known[k], given->key) != 0)
            k++;
        if (!known[k])
            return error_set(err, STATUS_INVALID_ARGUMENT, "initializer %s has no argument '%s'",
                             request->named->name, given->key);
        if (!isfinite(given->value))
            return error_set(err, STATUS_INVALID_ARGUMENT, "initializer %s: %s is %g, not a number",
                             request->named->name, given->key, given->value);
    }
    return STATUS_OK;
}

/* Inputs and outputs of one unit: of a matrix its sides; a kernel of more axes has a receptive
 * field in front of them. */
static void fans_of_shape(const uint64_t *shape, size_t rank, double *ret_in, double *ret_out)
{
    double field = 1.0;

    if (rank < 2) {
        *ret_in = *ret_out = rank == 1 ? (double)shape[0] : 1.0;
        return;
    }
    for (size_t i = 0; i + 2 < rank; i++)
        field *= (double)shape[i];
    *ret_in = (double)shape[rank - 2] * field;
    *ret_out = (double)shape[rank - 1] * field;
}

static enum status scaling_variance(const struct request *request, double *ret_variance,
                                    struct error *err)
{
    bool fixed = request->named->family == FAMILY_PRESET;
    const char *mode = request->mode && !fixed ? request->mode : request->named->mode;
    double scale = argument(request, "scale", request->named->scale);
    double fan_in, fan_out, fan;

    fans_of_shape(request->shape, request->rank, &fan_in, &fan_out);
    if (strcasecmp(mode, "fan_in") == 0)
        fan = fan_in;
    else if (strcasecmp(mode, "fan_out") == 0)
        fan = fan_out;
    else if (strcasecmp(mode, "fan_avg") == 0)
        fan = (fan_in + fan_out) / 2.0;
    else
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "initializer %s: mode is '%s'; it must be fan_in, fan_out or fan_avg",
                         request->named->name, mode);
    if (scale <= 0.0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "initializer %s: scale is %g; it must be above 0", request->named->name,
                         scale);
    *ret_variance = scale / fmax(1.0, fan);
    return STATUS_OK;
}

static enum status scaling(const struct request *request, struct initializer *ret_initializer,
                           struct error *err)
{
    bool fixed = request->named->family == FAMILY_PRESET;
    const char *distribution = request->distribution && !fixed ? request->distribution
                                                               : request->named->distribution;
    double variance = 0.0;
    enum status status = scaling_variance(request, &variance, err);

    if (status != STATUS_OK)
        return status;
    if (strcasecmp(distribution, "uniform") == 0) {
        double limit = sqrt(3.0 * variance);
        *ret_initializer = (struct initializer){INITIALIZER_UNIFORM, -limit, limit, 0};
    } else if (strcasecmp(distribution, "truncated_normal") == 0 ||
               strcasecmp(distribution, "normal") == 0) {
        double stddev = sqrt(variance) / TRUNCATED_STDDEV;
        *ret_initializer = (struct initializer){INITIALIZER_TRUNCATED_NORMAL, 0.0, stddev, 0};
    } else if (strcasecmp(distribution, "untruncated_normal") == 0) {
        *ret_initializer = (struct initializer){INITIALIZER_NORMAL, 0.0, sqrt(variance), 0};
    } else {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "initializer %s: distribution is '%s'; it must be uniform, "
                         "truncated_normal or untruncated_normal",
                         request->named->name, distribution);
    }
    return STATUS_OK;
}

static enum status make(const struct request *request, struct initializer *ret_initializer,
                        struct error *err)
{
    struct initializer made = {.kind = request->named->kind};

    switch (request->named->family) {
    case FAMILY_ZEROS:
    case FAMILY_ONES:
        break;
    case FAMILY_CONSTANT:
        made.a = argument(request, "value", 0.0);
        break;
    case FAMILY_RANGE:
        made.a = argument(request, "minval", -0.05);
        made.b = argument(request, "maxval", 0.05);
        break;
    case FAMILY_NORMAL:
        made.a = argument(request, "mean", 0.0);
        made.b = argument(request, "stddev", 0.05);
        break;
    case FAMILY_SCALING:
    case FAMILY_PRESET:
        return scaling(request, ret_initializer, err);
    }
    *ret_initializer = made;
    return STATUS_OK;
}

enum status initializer_named(const char *name, const struct initializer_argument *arguments,
                              size_t argument_count, const char *mode, const char *distribution,
                              const uint64_t *shape, size_t rank, int64_t seed,
                              struct initializer *ret_initializer, struct error *err)
{
    struct request request = {
        find_named(name), arguments, argument_count, mode, distribution, shape, rank};
    struct initializer made;
    enum status status;

    if (!request.named)
        return error_set(err, STATUS_NOT_FOUND,
                         "no initializer '%s'; there are: Zeros, Ones, Constant, RandomUniform, "
                         "RandomNormal, TruncatedNormal, VarianceScaling, and GlorotUniform, "
                         "GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal",
                         name);
    status = check_arguments(&request, err);
    if (status == STATUS_OK)
        status = make(&request, &made, err);
    if (status != STATUS_OK)
        return status;
    made.seed = seed;
    *ret_initializer = made;
    return STATUS_OK;
}
