/* Eight threads on one handle: each holds credits for its jobs, asks twice for every one of them as a client does that
 * lost an answer, and confirms or refunds them. What comes out is the same whichever thread is first, and however often
 * the program runs on the same books.
 *
 *     cc load.c $(pkg-config --cflags --libs credits) -pthread -o load && ./load sqlite:///load.db
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <credits.h>

#define THREADS 8
#define ACCOUNTS 4
#define JOBS 40     /* of each thread, by turns for the accounts */
#define GRANT 1000  /* credits of each account, more than all its jobs need */
#define PRICE 10    /* of a job */
#define SCARCE 4    /* an account with 500 credits, */
#define ATTEMPTS 3  /* from which each thread tries to take 75 so often: six of all can have them */

static credits_ledger *ledger;

/* What one thread has counted. */
struct totals {
    int64_t number; /* of the thread */
    int64_t held, repeated, confirmed, refunded, captured, reversed, scarce;
};

/* Ends the program where a call fails. By its place: C may read an argument before it makes the call in another one. */
static void must(credits_code code, credits_error **error) {
    if (code != CREDITS_OK) {
        fprintf(stderr, "%s: %s\n", credits_code_name(code), credits_error_message(*error));
        credits_error_free(*error);
        exit(1);
    }
}

static credits_uuid account(int64_t number) {
    credits_uuid id = {{0x01, 0x91, 0xd8, 0xf0, 0, 0, 0x70, 0, 0x80}};
    id.bytes[15] = (uint8_t)(number + 1);
    return id;
}

static void grant(int64_t number, int64_t amount) {
    credits_error *error = NULL;
    credits_grant_options options = CREDITS_GRANT_INIT;
    options.user_id = account(number);
    options.amount = amount;
    options.source = CREDITS_SOURCE_PURCHASE;
    options.idempotency_key = "opening";
    must(credits_grant(ledger, &options, NULL, &error), &error);
}

/* Settles a job in one of four ways. */
static void settle(credits_consumption job, const char *name, int64_t way, struct totals *totals) {
    char key[48];
    credits_error *error = NULL;
    credits_confirm_options confirm = CREDITS_CONFIRM_INIT;
    credits_refund_options refund = CREDITS_REFUND_INIT;
    confirm.consumption_id = refund.consumption_id = job.id;
    if (way == 0) { /* it failed */
        must(credits_refund(ledger, &refund, &job, &error), &error);
        totals->refunded++;
        return;
    }
    if (way == 1) confirm.amount = 6; /* it was smaller than thought */
    must(credits_confirm(ledger, &confirm, &job, &error), &error);
    if (way == 3) { /* somebody complained; without a key a second complaint would be another one */
        snprintf(key, sizeof key, "complaint-%s", name);
        refund.amount = 4;
        refund.idempotency_key = key;
        must(credits_refund(ledger, &refund, &job, &error), &error);
    }
    totals->confirmed++;
    totals->captured += job.captured;
    totals->reversed += job.reversed;
}

static void *work(void *argument) {
    struct totals *totals = argument;
    int64_t job;
    char key[32];
    credits_error *error = NULL;
    credits_consumption held, again;
    credits_consume_options consume = CREDITS_CONSUME_INIT;
    credits_confirm_options confirm = CREDITS_CONFIRM_INIT;
    consume.idempotency_key = key;

    consume.amount = PRICE;
    for (job = 0; job < JOBS; job++) {
        consume.user_id = account((totals->number + job) % ACCOUNTS);
        snprintf(key, sizeof key, "job-%" PRId64 "-%" PRId64, totals->number, job);
        must(credits_consume(ledger, &consume, &held, &error), &error);
        must(credits_consume(ledger, &consume, &again, &error), &error);
        totals->held += held.amount;
        totals->repeated += memcmp(&held.id, &again.id, sizeof held.id) == 0;
        settle(held, key, job % 4, totals);
    }

    consume.user_id = account(SCARCE);
    consume.amount = 75;
    for (job = 0; job < ATTEMPTS; job++) {
        credits_code code;
        snprintf(key, sizeof key, "scarce-%" PRId64 "-%" PRId64, totals->number, job);
        code = credits_consume(ledger, &consume, &held, &error);
        if (code == CREDITS_INSUFFICIENT_CREDITS) {
            credits_error_free(error);
        } else {
            must(code, &error);
            confirm.consumption_id = held.id;
            must(credits_confirm(ledger, &confirm, NULL, &error), &error);
            totals->scarce++;
        }
    }
    return NULL;
}

int main(int count, char **arguments) {
    credits_error *error = NULL;
    credits_verification audit;
    credits_sums sums;
    pthread_t threads[THREADS];
    struct totals each[THREADS] = {{0}}, all = {0};
    int64_t n;

    must(credits_open(count > 1 ? arguments[1] : "sqlite::memory:", NULL, &ledger, &error), &error);
    must(credits_migrate(ledger, &error), &error);
    for (n = 0; n < ACCOUNTS; n++) grant(n, GRANT);
    grant(SCARCE, 500);

    for (n = 0; n < THREADS; n++) {
        each[n].number = n;
        if (pthread_create(&threads[n], NULL, work, &each[n]) != 0) {
            fprintf(stderr, "no more threads\n");
            return 1;
        }
    }
    for (n = 0; n < THREADS; n++) {
        pthread_join(threads[n], NULL);
        all.held += each[n].held;
        all.repeated += each[n].repeated;
        all.confirmed += each[n].confirmed;
        all.refunded += each[n].refunded;
        all.captured += each[n].captured;
        all.reversed += each[n].reversed;
        all.scarce += each[n].scarce;
    }

    printf("%d jobs held %" PRId64 " credits, %" PRId64 " asked for twice and held once\n", THREADS * JOBS, all.held,
           all.repeated);
    printf("%" PRId64 " confirmed, %" PRId64 " refunded: %" PRId64 " credits charged, %" PRId64 " of them given back\n",
           all.confirmed, all.refunded, all.captured, all.reversed);
    printf("%" PRId64 " of %d jobs of 75 credits done with 500\n", all.scarce, THREADS * ATTEMPTS);
    for (n = 0; n <= SCARCE; n++) {
        credits_balance balance;
        must(credits_get_balance(ledger, account(n), 0, &balance, &error), &error);
        printf("account %" PRId64 ": %" PRId64 " available, %" PRId64 " held, %" PRId64 " spent\n", n + 1,
               balance.available, balance.held, balance.spent);
    }
    must(credits_verify(ledger, &audit, NULL, &error), &error);
    must(credits_trial_balance(ledger, &sums, NULL, &error), &error);
    printf("%" PRIu64 " entries, %" PRIu64 " faults; the sum of everything is %s\n", audit.entries, audit.faults,
           sums.is_balanced ? "zero" : "not zero");
    credits_close(ledger);
    return audit.faults != 0 || !sums.is_balanced;
}
