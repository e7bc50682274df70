/* A test is a function; what it checks is counted, and a failure ends it. */
#ifndef CHECK_H
#define CHECK_H

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "credits.h"

extern jmp_buf failed;

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
