/* A test is a function; what it checks is counted, and a failure ends it. main.c runs them, each with a ledger of its own. */
#ifndef CHECK_H
#define CHECK_H

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "credits.h"

#define START 1767225600000000 /* 2026-01-01 */
#define SECOND 1000000
#define BAD_UTF8 "\xff\xfe"

struct test {
    const char *name; /* NULL after the last one */
    void (*run)(void);
};

extern const struct test LEDGER_TESTS[], ORDER_TESTS[], CHANNEL_TESTS[];

extern jmp_buf failed;
extern credits_clock *the_clock;
extern credits_ledger *ledger;

credits_uuid id_of(unsigned char n);
/* A further ledger on the test's database. */
credits_ledger *open_anew(void);
/* Likewise; what the settings don't say of database and clock is filled in. */
credits_ledger *open_with(credits_settings settings);
/* A further ledger on a database that has no tables. */
credits_ledger *open_empty(void);
int64_t available(credits_uuid user);
/* A package of 100 + 10 credits for 9.90 CNY, which live for 30 days. */
credits_uuid a_package(void);
credits_order an_order(credits_uuid user, credits_uuid package, const char *channel);

#define CHECK(condition)                                                                                 \
    do {                                                                                                 \
        if (!(condition)) {                                                                              \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                      \
            longjmp(failed, 1);                                                                          \
        }                                                                                                \
    } while (0)

/* A call that succeeds. */
#define OK(call)                                                                                         \
    do {                                                                                                 \
        credits_error *error = NULL;                                                                     \
        credits_code code = (call);                                                                      \
        if (code != CREDITS_OK) {                                                                        \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, credits_error_message(error)); \
            credits_error_free(error);                                                                   \
            longjmp(failed, 1);                                                                          \
        }                                                                                                \
        CHECK(error == NULL);                                                                            \
    } while (0)

/* A call that is refused with this code and facts that have this text in them; once without a place for the error. */
#define REFUSED(expected, text, call)                                                                    \
    do {                                                                                                 \
        credits_error *error = NULL;                                                                     \
        credits_code code = (call);                                                                      \
        if (code != (expected) || credits_error_code(error) != code ||                                   \
            strstr(credits_error_facts(error), text) == NULL) {                                          \
            fprintf(stderr, "%s:%d: %s: %d %s %s\n", __FILE__, __LINE__, #call, (int)code,               \
                    credits_error_message(error), credits_error_facts(error));                           \
            credits_error_free(error);                                                                   \
            longjmp(failed, 1);                                                                          \
        }                                                                                                \
        credits_error_free(error);                                                                       \
    } while (0)

#endif
