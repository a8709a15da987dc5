/* Reads one "config" object of Keras's JSON: typed, with defaults, and no key left unread. */
#ifndef PARAMD_WORKER_NN_CONFIG_H
#define PARAMD_WORKER_NN_CONFIG_H

#include "common/base/error.h"
#include "common/optim/initializer.h"
#include "worker/nn/activation.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { CONFIG_KEYS_MAX = 32 };

/*
 * A reader over an object. The first failure is kept and every later call does nothing but return
 * its default, so a layer reads all its keys in a row and looks once, at config_finish.
 */
struct config {
    const json_t *object;              /* borrowed */
    const char *what, *name;           /* "layer" and its name, for messages; borrowed */
    const char *read[CONFIG_KEYS_MAX]; /* keys asked for, static texts */
    size_t read_count;
    struct error *err; /* borrowed, never NULL */
    enum status status;
};

struct config config_open(const json_t *object, const char *what, const char *name,
                          struct error *err);

/* The value of a key, NULL if absent or JSON null; any type. */
const json_t *config_value(struct config *config, const char *key);

bool config_bool(struct config *config, const char *key, bool otherwise);

/* A whole number from min to max; a number such as 5.0 is none. */
int64_t config_int(struct config *config, const char *key, int64_t otherwise, int64_t min,
                   int64_t max);

/* A finite number; *ret_null (may be NULL) says whether it was absent or null. */
double config_number(struct config *config, const char *key, double otherwise, bool *ret_null);

/* Text, borrowed from the object. */
const char *config_text(struct config *config, const char *key, const char *otherwise);

/* An activation: null, a name, or an activation layer's object with parameters of its own. */
struct activation config_activation(struct config *config, const char *key);

/* What an initializer's object says; the numbers follow when the shape is known (weight_initializer
 * of layer.h). */
enum { CONFIG_INITIALIZER_ARGUMENTS = 3, CONFIG_INITIALIZER_NAME_BYTES = 32 };
struct initializer_config {
    char name[CONFIG_INITIALIZER_NAME_BYTES]; /* Keras's class name or snake case */
    struct initializer_argument arguments[CONFIG_INITIALIZER_ARGUMENTS]; /* static keys */
    size_t argument_count;
    char mode[CONFIG_INITIALIZER_NAME_BYTES],
        distribution[CONFIG_INITIALIZER_NAME_BYTES]; /* "": default */
    bool has_seed;
    int64_t seed;
};

/* An initializer: a name or an object; absent or null gives `otherwise`. Names it does not know are
 * refused. */
struct initializer_config config_initializer(struct config *config, const char *key,
                                             const char *otherwise);

/* The parameters of Keras's ReLU, LeakyReLU and ELU layers, read from their config. */
struct activation config_relu(struct config *config);
struct activation config_leaky_relu(struct config *config);
struct activation config_elu(struct config *config);

/* The key must be absent or null: what it would switch on is not supported. */
void config_expect_null(struct config *config, const char *key);

/* Notes that a key may be there, whatever it holds. */
void config_ignore(struct config *config, const char *key);

/* Keeps the first failure: "layer 'dense': <message>". */
void config_fail(struct config *config, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* The first failure; or INVALID_ARGUMENT for a key that nothing asked for, with the keys there are.
 */
NODISCARD enum status config_finish(struct config *config);

/* Keras writes an object as {"class_name": ..., "config": {...}}: both, or false if it is none.
 * config may be NULL. */
bool config_is_class(const json_t *value, const char **ret_class_name, const json_t **ret_config);

#endif
