/* Trains y = 2x + 1 from noisy examples with libparamd: each worker has its own, the servers own w
 * and b and run Adam. */
#include <paramd/ps.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 1000, BATCH = 64 };

static struct ps_error error;

static void check(enum ps_status status)
{
    if (status == PS_OK)
        return;
    fprintf(stderr, "linear: %s\n", error.message);
    exit(error.exit_code);
}

/* Uniform in -1 .. 1, the next of a linear congruential sequence. */
static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / (double)((uint64_t)1 << 52) - 1;
}

int main(void)
{
    struct ps_client *ps;
    uint32_t w_id, b_id;
    float w, b;
    ps_handle w_ready, b_ready;

    check(ps_connect(NULL, &ps, &error)); /* the place in the cluster comes from the environment */
    check(ps_create(ps, &(struct ps_variable){.name = "w"}, &w_id, &error));
    check(ps_create(ps, &(struct ps_variable){.name = "b"}, &b_id, &error));
    check(ps_configure(ps, 0, "adam", &(struct ps_setting){"learning_rate", 0.01}, 1, &error));
    check(ps_start(ps, &error));
    check(ps_pull(ps, w_id, PS_LATEST, &w, NULL, &error));
    check(ps_pull(ps, b_id, PS_LATEST, &b, NULL, &error));
    for (uint64_t t = ps_step(ps) + 1; t <= STEPS; t++) {
        check(ps_step_begin(ps, t, BATCH, &error));
        uint64_t state = t * 1000 + ps_rank(ps); /* the batch: a restarted worker repeats it */
        double w_sum = 0, b_sum = 0, loss = 0;
        for (int i = 0; i < BATCH; i++) {
            double x = uniform(&state);
            double miss = w * x + b - (2 * x + 1 + 0.1 * uniform(&state));
            w_sum += 2 * miss * x;
            b_sum += 2 * miss;
            loss += miss * miss;
        }
        float w_grad = (float)(w_sum / BATCH), b_grad = (float)(b_sum / BATCH);
        check(ps_push_pull(ps, w_id, &w_grad, &w, &w_ready, &error));
        check(ps_push_pull(ps, b_id, &b_grad, &b, &b_ready, &error));
        check(ps_step_end(ps, &(struct ps_metric){"loss", loss, BATCH}, 1, &error));
        check(ps_wait(ps, w_ready, PS_DEFAULT_TIMEOUT, &error));
        check(ps_wait(ps, b_ready, PS_DEFAULT_TIMEOUT, &error));
    }
    check(ps_finish(ps, &error));
    if (ps_rank(ps) == 0)
        printf("y = %.3f x + %.3f\n", (double)w, (double)b);
    ps_close(ps);
    return fabsf(w - 2) < 0.05f && fabsf(b - 1) < 0.05f ? 0 : 1;
}
