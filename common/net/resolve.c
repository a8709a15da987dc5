#include "common/net/resolve.h"

#include "common/base/alloc.h"

#include <pthread.h>
#include <signal.h>

/*
 * The system's resolver blocks, for as long as its own time limits say. So it runs on a thread of
 * its own, detached: whoever asked may give up at any time (a connection's deadline, the end of the
 * program) and need not wait for it.
 */
struct resolve {
    pthread_mutex_t lock;
    struct address address;
    void (*on_done)(void *context);
    void *context;
    bool abandoned;
    bool finished;
    enum status status;
    struct socket_addresses addresses;
    struct error error;
};

static void resolve_free(struct resolve *resolve)
{
    pthread_mutex_destroy(&resolve->lock);
    alloc_free(resolve);
}

static void *resolve_thread(void *context)
{
    struct resolve *resolve = context;
    struct socket_addresses addresses = {.count = 0};
    struct error error = {0};
    enum status status = address_resolve(&resolve->address, &addresses, &error);

    pthread_mutex_lock(&resolve->lock);
    bool abandoned = resolve->abandoned;
    resolve->finished = true;
    resolve->status = status;
    resolve->addresses = addresses;
    resolve->error = error;
    if (!abandoned)
        resolve->on_done(
            resolve->context); /* under the lock: resolve_abandon waits until it has returned */
    pthread_mutex_unlock(&resolve->lock);
    if (abandoned)
        resolve_free(resolve);
    return NULL;
}

struct resolve *resolve_start(const struct address *address, void (*on_done)(void *context),
                              void *context)
{
    struct resolve *resolve = alloc_zero(sizeof *resolve);
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all;
    sigset_t before;

    if (!resolve)
        return NULL;
    pthread_mutex_init(&resolve->lock, NULL);
    resolve->address = *address;
    resolve->on_done = on_done;
    resolve->context = context;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals are not for this thread */
    int failed = pthread_create(&thread, &attributes, resolve_thread, resolve);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (failed) {
        resolve_free(resolve);
        return NULL;
    }
    return resolve;
}

bool resolve_finished(struct resolve *resolve, enum status *ret_status,
                      struct socket_addresses *ret_addresses, struct error *err)
{
    pthread_mutex_lock(&resolve->lock);
    bool finished = resolve->finished;
    if (finished) {
        *ret_status = resolve->status;
        *ret_addresses = resolve->addresses;
        *err = resolve->error;
    }
    pthread_mutex_unlock(&resolve->lock);
    return finished;
}

void resolve_abandon(struct resolve *resolve)
{
    if (!resolve)
        return;
    pthread_mutex_lock(&resolve->lock);
    bool finished = resolve->finished;
    resolve->abandoned = true;
    pthread_mutex_unlock(&resolve->lock);
    if (finished)
        resolve_free(resolve);
}
