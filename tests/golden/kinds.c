#include "tests/golden/golden.h"

#include <string.h>

/* What Python programs are told when they use Keras wrongly: there is no Python here. */
static enum golden_outcome golden_text(struct golden_case *golden)
{
    return golden_skip(golden, "messages of Keras for Python programs");
}

static const struct golden_kind kinds[] = {
    {"fit", golden_fit},
    {"initializer", golden_initializer},
    {"layer", golden_layer},
    {"loss", golden_loss},
    {"metric", golden_metric},
    {"model", golden_model},
    {"optimizer", golden_optimizer},
    {"random", golden_random},
    {"text", golden_text},
};

const struct golden_kind *golden_find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    }
    return NULL;
}
