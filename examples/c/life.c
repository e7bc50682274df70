/* The life of a credit: bought, held for a job, charged for what was used; and what a refusal looks like.
 *
 *     cc life.c $(pkg-config --cflags --libs credits) -o life && ./life
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <credits.h>

/* Ends the program where a call fails. By its place: C may read an argument before it makes the call in another one. */
static void must(credits_code code, credits_error **error) {
    if (code != CREDITS_OK) {
        fprintf(stderr, "%s: %s\n", credits_code_name(code), credits_error_message(*error));
        credits_error_free(*error);
        exit(1);
    }
}

int main(int count, char **arguments) {
    credits_ledger *ledger = NULL;
    credits_error *error = NULL;
    credits_uuid user;
    credits_consumption job;
    credits_balance balance;
    credits_grant_options grant = CREDITS_GRANT_INIT;
    credits_consume_options consume = CREDITS_CONSUME_INIT;
    credits_confirm_options confirm = CREDITS_CONFIRM_INIT;

    must(credits_open(count > 1 ? arguments[1] : "sqlite::memory:", NULL, &ledger, &error), &error);
    must(credits_migrate(ledger, &error), &error);
    must(credits_uuid_parse("0191d8f0-0000-7000-8000-000000000001", &user, &error), &error);

    grant.user_id = user;
    grant.amount = 100;
    grant.source = CREDITS_SOURCE_PURCHASE;
    grant.idempotency_key = "order-42"; /* bought once, however often this runs */
    must(credits_grant(ledger, &grant, NULL, &error), &error);

    consume.user_id = user;
    consume.amount = 75;
    consume.feature = "image_generation";
    must(credits_consume(ledger, &consume, &job, &error), &error); /* before the job */
    confirm.consumption_id = job.id;
    confirm.amount = 60;
    must(credits_confirm(ledger, &confirm, &job, &error), &error); /* after it: the rest goes back */
    must(credits_get_balance(ledger, user, 0, &balance, &error), &error);
    printf("%" PRId64 " charged, %" PRId64 " left\n", job.captured, balance.available);

    consume.amount = 1000000;
    if (credits_consume(ledger, &consume, &job, &error) == CREDITS_INSUFFICIENT_CREDITS) {
        printf("%" PRId64 " required, %" PRId64 " available\n", credits_error_required(error),
               credits_error_available(error));
        credits_error_free(error);
    }
    credits_close(ledger);
    return 0;
}
