/* The rules of the synchronous mode, each at, below and above its bound. */
#include "server/consistency/consistency.h"

#include "tests/lib/fail_alloc.h"
#include "tests/lib/test.h"

enum { RANKS = 3 };

struct rules {
    struct consistency consistency;
    struct error err;
};

static int setup(void **state)
{
    static struct rules rules;

    rules = (struct rules){0};
    assert_ok(consistency_init(&rules.consistency, RANKS, &rules.err), &rules.err);
    *state = &rules;
    return 0;
}

static int teardown(void **state)
{
    consistency_release(&((struct rules *)*state)->consistency);
    return 0;
}

static void begin(struct rules *rules, uint32_t rank, uint64_t step, uint64_t examples)
{
    assert_ok(consistency_begin(&rules->consistency, rank, step, examples, &rules->err),
              &rules->err);
}

static void begin_all(struct rules *rules, uint64_t step, uint64_t examples)
{
    for (uint32_t rank = 0; rank < RANKS; rank++)
        begin(rules, rank, step, examples);
}

static void close_step(struct rules *rules, uint32_t rank, uint64_t step)
{
    assert_ok(consistency_close(&rules->consistency, rank, step, &rules->err), &rules->err);
}

static void test_nothing_is_open_before_version_0(void **state)
{
    struct rules *rules = *state;

    for (uint64_t step = 0; step < 4; step++) {
        assert_false(consistency_step_open(&rules->consistency, step));
        assert_false(consistency_step_committed(&rules->consistency, step));
        assert_false(consistency_total_known(&rules->consistency, step));
    }
    assert_refused(consistency_begin(&rules->consistency, 0, 1, 5, &rules->err),
                   STATUS_FAILED_PRECONDITION, &rules->err, "the last committed step is -1");
}

static void test_two_steps_are_open(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    for (uint64_t commit = 0; commit < 5; commit++) {
        consistency_commit(consistency, commit);
        assert_true(consistency_step_committed(consistency, commit));
        assert_false(consistency_step_open(consistency, commit));
        assert_true(consistency_step_open(consistency, commit + 1));
        assert_true(consistency_step_open(consistency, commit + 2));
        assert_false(consistency_step_open(consistency, commit + 3));
        assert_false(consistency_step_committed(consistency, commit + 1));
        assert_false(consistency_step_open(consistency, UINT64_MAX));
    }
}

static void test_begin_is_for_open_steps(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    consistency_commit(consistency, 0);
    consistency_commit(consistency, 1);
    begin(rules, 0, 0, 9); /* committed: nothing changes */
    begin(rules, 0, 1, 9);
    begin(rules, 0, 2, 9);
    begin(rules, 0, 3, 9);
    assert_refused(consistency_begin(consistency, 0, 4, 9, &rules->err), STATUS_FAILED_PRECONDITION,
                   &rules->err, "at most step 3 may be begun");
    assert_refused(consistency_begin(consistency, 0, UINT64_MAX, 9, &rules->err),
                   STATUS_FAILED_PRECONDITION, &rules->err, "from rank 0");
}

/* A new connection says step_begin again; another number of examples is another step. */
static void test_begin_repeats_with_the_same_examples_only(void **state)
{
    struct rules *rules = *state;

    consistency_commit(&rules->consistency, 0);
    begin(rules, 1, 1, 7);
    begin(rules, 1, 1, 7);
    assert_refused(consistency_begin(&rules->consistency, 1, 1, 8, &rules->err),
                   STATUS_FAILED_PRECONDITION, &rules->err,
                   "rank 1 began step 1 with 7 examples and now says 8");
    begin(rules, 1, 2, 8); /* of another step it may */
}

/* W is known when the last rank has begun, not before; each open step has its own. */
static void test_total_is_known_when_all_have_begun(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    consistency_commit(consistency, 0);
    begin(rules, 0, 1, 4);
    begin(rules, 2, 1, 6);
    assert_false(consistency_total_known(consistency, 1));
    begin(rules, 1, 2, 100);
    assert_false(consistency_total_known(consistency, 1));
    begin(rules, 1, 1, 0);
    assert_true(consistency_total_known(consistency, 1));
    assert_int_equal(consistency_total(consistency, 1), 10);
    assert_false(consistency_total_known(consistency, 2));
    assert_false(consistency_total_known(consistency, 3));
}

static void test_total_is_forgotten_with_its_step(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    consistency_commit(consistency, 0);
    begin_all(rules, 1, 4);
    begin_all(rules, 2, 5);
    consistency_commit(consistency, 1);
    assert_false(consistency_total_known(consistency, 1));
    assert_int_equal(consistency_total(consistency, 2), 15);
    assert_false(consistency_total_known(consistency, 3)); /* has the place of step 1 */
    begin_all(rules, 3, 6);
    assert_int_equal(consistency_total(consistency, 3), 18);
}

/* More examples than a sum of 1,024 ranks could hold are refused, so W never wraps around. */
static void test_examples_have_a_bound(void **state)
{
    struct rules *rules = *state;

    consistency_commit(&rules->consistency, 0);
    begin(rules, 0, 1, CONSISTENCY_EXAMPLES_MAX);
    assert_refused(
        consistency_begin(&rules->consistency, 1, 1, CONSISTENCY_EXAMPLES_MAX + 1, &rules->err),
        STATUS_INVALID_ARGUMENT, &rules->err, "rank 1 begins step 1 with");
    assert_refused(consistency_begin(&rules->consistency, 1, 1, UINT64_MAX, &rules->err),
                   STATUS_INVALID_ARGUMENT, &rules->err, "examples");
}

static void test_weights_are_shares_rounded_once(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    consistency_commit(consistency, 0);
    begin(rules, 0, 1, 1);
    begin(rules, 1, 1, 0);
    begin(rules, 2, 1, 2);
    assert_true(consistency_weight(consistency, 0, 1) == (float)(1.0 / 3.0));
    assert_true(consistency_weight(consistency, 1, 1) == 0.0f);
    assert_true(consistency_weight(consistency, 2, 1) == (float)(2.0 / 3.0));
    begin(rules, 0, 2, 0);
    begin(rules, 1, 2, 5);
    begin(rules, 2, 2, 0);
    assert_true(consistency_weight(consistency, 1, 2) == 1.0f); /* its gradient stays as it is */
}

static void test_duties(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    consistency_commit(consistency, 0);
    begin(rules, 0, 1, 3);
    begin(rules, 1, 1, 0);
    begin(rules, 2, 1, 3);
    assert_int_equal(consistency_duty(consistency, 0, 1), RANK_AWAITED);
    assert_int_equal(consistency_duty(consistency, 1, 1), RANK_ABSENT);
    close_step(rules, 1, 1); /* a close without examples is allowed and changes nothing */
    assert_int_equal(consistency_duty(consistency, 1, 1), RANK_ABSENT);
    close_step(rules, 0, 1);
    assert_int_equal(consistency_duty(consistency, 0, 1), RANK_SILENT);
    close_step(rules, 0, 1);
    assert_int_equal(consistency_duty(consistency, 2, 1), RANK_AWAITED);
    consistency_finish(consistency, 2, 0);
    assert_int_equal(consistency_duty(consistency, 2, 1), RANK_ABSENT);
}

static void test_close_needs_a_begin(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    consistency_commit(consistency, 0);
    assert_refused(consistency_close(consistency, 0, 1, &rules->err), STATUS_FAILED_PRECONDITION,
                   &rules->err, "which it has not begun on this server");
    close_step(rules, 0, 0); /* committed: sent again on a new connection */
    assert_refused(consistency_close(consistency, 0, 3, &rules->err), STATUS_FAILED_PRECONDITION,
                   &rules->err, "step_close of step 3");
}

static void test_finished_rank_is_not_awaited(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    consistency_commit(consistency, 0);
    begin(rules, 0, 1, 2);
    begin(rules, 1, 1, 3);
    consistency_finish(consistency, 2, 0);
    assert_true(consistency_total_known(consistency, 1)); /* it was the last that was awaited */
    assert_int_equal(consistency_total(consistency, 1), 5);
    assert_refused(consistency_begin(consistency, 2, 1, 2, &rules->err), STATUS_FAILED_PRECONDITION,
                   &rules->err, "rank 2 finished at step 0");
    assert_int_equal(consistency_push(consistency, 2, 1, 0, false, &rules->err), PUSH_REFUSE);
    assert_refused(consistency_close(consistency, 2, 1, &rules->err), STATUS_FAILED_PRECONDITION,
                   &rules->err, "rank 2 finished");
}

/* Its last step is one of the two open ones: it takes part in that one and in none after. */
static void test_rank_takes_part_up_to_its_last_step(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    consistency_commit(consistency, 0);
    consistency_finish(consistency, 2, 1);
    begin(rules, 0, 1, 1);
    begin(rules, 1, 1, 1);
    assert_false(consistency_total_known(consistency, 1));
    begin(rules, 2, 1, 1);
    assert_int_equal(consistency_total(consistency, 1), 3);
    begin(rules, 0, 2, 1);
    begin(rules, 1, 2, 1);
    assert_int_equal(consistency_total(consistency, 2), 2);
}

static void test_all_finished_before_version_0(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    for (uint32_t rank = 0; rank < RANKS; rank++)
        consistency_finish(consistency, rank, 0);
    consistency_commit(consistency, 0);
    for (uint64_t step = 1; step <= 2; step++)
        assert_int_equal(consistency_total(consistency, step), 0);
}

static void test_all_finished_leaves_no_examples(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    consistency_commit(consistency, 0);
    begin_all(rules, 1, 4);
    for (uint32_t rank = 0; rank < RANKS; rank++)
        consistency_finish(consistency, rank, 1);
    assert_int_equal(consistency_total(consistency, 1), 12);
    assert_int_equal(consistency_total(consistency, 2), 0);
    consistency_commit(consistency, 1);
    assert_int_equal(consistency_total(consistency, 3), 0);
}

static enum push_answer push(struct rules *rules, uint32_t rank, uint64_t step, uint64_t version,
                             bool staged)
{
    return consistency_push(&rules->consistency, rank, step, version, staged, &rules->err);
}

static void test_pushes_count_once(void **state)
{
    struct rules *rules = *state;

    for (uint64_t step = 0; step < 3; step++)
        consistency_commit(&rules->consistency, step);
    begin_all(rules, 3, 4);
    begin_all(rules, 4, 4);
    assert_int_equal(push(rules, 1, 3, 2, false), PUSH_STAGE);
    assert_int_equal(push(rules, 1, 3, 2, true), PUSH_DUPLICATE);  /* here, or on its way */
    assert_int_equal(push(rules, 1, 3, 3, false), PUSH_DUPLICATE); /* prepared already */
    assert_int_equal(push(rules, 1, 4, 3, false), PUSH_STAGE);     /* of the second open step */
    assert_int_equal(push(rules, 1, 4, 2, false), PUSH_STAGE);
    assert_int_equal(push(rules, 1, 2, 2, false), PUSH_DUPLICATE); /* committed */
    assert_int_equal(push(rules, 1, 0, 2, false), PUSH_DUPLICATE);
    assert_int_equal(push(rules, 1, 5, 3, false), PUSH_REFUSE); /* too far */
    assert_non_null(strstr(rules->err.message, "push of step 5 from rank 1"));
}

static void test_push_needs_a_begin_with_examples(void **state)
{
    struct rules *rules = *state;

    consistency_commit(&rules->consistency, 0);
    assert_int_equal(push(rules, 0, 1, 0, false), PUSH_REFUSE);
    assert_non_null(strstr(rules->err.message, "before its step_begin"));
    begin(rules, 0, 1, 0);
    assert_int_equal(push(rules, 0, 1, 0, false), PUSH_REFUSE);
    assert_non_null(strstr(rules->err.message, "began with 0 examples"));
}

/* What comes after step_close was told to be nothing, and others may have been folded past it. */
static void test_push_after_close_is_refused_unless_known(void **state)
{
    struct rules *rules = *state;

    consistency_commit(&rules->consistency, 0);
    begin(rules, 0, 1, 2);
    close_step(rules, 0, 1);
    assert_int_equal(push(rules, 0, 1, 0, true), PUSH_DUPLICATE);
    assert_int_equal(push(rules, 0, 1, 1, false), PUSH_DUPLICATE);
    assert_int_equal(push(rules, 0, 1, 0, false), PUSH_REFUSE);
    assert_non_null(strstr(rules->err.message, "after its step_close"));
}

static void test_preparing_waits_for_the_commit_before(void **state)
{
    struct rules *rules = *state;
    struct consistency *consistency = &rules->consistency;

    assert_false(consistency_may_prepare(consistency, 0, 1));
    consistency_commit(consistency, 0);
    assert_true(consistency_may_prepare(consistency, 0, 1));
    assert_false(consistency_may_prepare(consistency, 0, 2)); /* not over a version */
    assert_false(consistency_may_prepare(consistency, 1, 2));
    assert_false(consistency_may_prepare(consistency, 1, 1)); /* not again */
    consistency_commit(consistency, 1);
    assert_true(consistency_may_prepare(consistency, 1, 2));
}

static void test_pull_answers(void **state)
{
    (void)state;
    assert_int_equal(consistency_pull(0, false, false, 0), PULL_LATER);
    assert_int_equal(consistency_pull(0, true, false, 0), PULL_CURRENT);
    assert_int_equal(consistency_pull(0, true, false, 1), PULL_LATER);
    assert_int_equal(consistency_pull(5, true, true, 6), PULL_LATER);
    assert_int_equal(consistency_pull(5, true, true, 5), PULL_CURRENT);
    assert_int_equal(consistency_pull(5, true, true, 4), PULL_PREVIOUS);
    assert_int_equal(consistency_pull(5, true, false, 4), PULL_GONE);
    assert_int_equal(consistency_pull(5, true, true, 3), PULL_GONE);
    assert_int_equal(consistency_pull(5, true, true, UINT64_MAX), PULL_LATER);
}

static enum status build(void *context)
{
    struct consistency consistency;
    struct error err;
    enum status status = consistency_init(&consistency, RANKS, &err);

    (void)context;
    if (!status)
        consistency_release(&consistency);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    assert_int_equal(fail_alloc_each(build, NULL), 2);
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(test_nothing_is_open_before_version_0),
        RULE(test_two_steps_are_open),
        RULE(test_begin_is_for_open_steps),
        RULE(test_begin_repeats_with_the_same_examples_only),
        RULE(test_total_is_known_when_all_have_begun),
        RULE(test_total_is_forgotten_with_its_step),
        RULE(test_examples_have_a_bound),
        RULE(test_weights_are_shares_rounded_once),
        RULE(test_duties),
        RULE(test_close_needs_a_begin),
        RULE(test_finished_rank_is_not_awaited),
        RULE(test_rank_takes_part_up_to_its_last_step),
        RULE(test_all_finished_before_version_0),
        RULE(test_all_finished_leaves_no_examples),
        RULE(test_pushes_count_once),
        RULE(test_push_needs_a_begin_with_examples),
        RULE(test_push_after_close_is_refused_unless_known),
        RULE(test_preparing_waits_for_the_commit_before),
        RULE(test_pull_answers),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
