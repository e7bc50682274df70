/* A program that breaks a rule: one thread reads an error while another one frees it. No check for races that lets it pass
 * is worth anything (scripts/check-c-races). */
#include <pthread.h>
#include <stdlib.h>

#include "credits.h"

static credits_error *error;

static void *reads(void *nothing) {
    credits_error_required(error);
    return nothing;
}

static void *frees(void *nothing) {
    credits_error_free(error);
    return nothing;
}

int main(void) {
    pthread_t one, other;
    credits_uuid id;
    if (credits_uuid_parse("none", &id, &error) != CREDITS_VALIDATION) abort();
    if (pthread_create(&one, NULL, reads, NULL) != 0 || pthread_create(&other, NULL, frees, NULL) != 0) abort();
    pthread_join(one, NULL);
    pthread_join(other, NULL);
    return 0;
}
