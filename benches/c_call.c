/* How many quotes a second credits_calculate() makes for a C program: scripts/bench-c runs it beside the same quotes from
 * Rust, the rows "through a ledger" of benches/calculate.rs.
 *
 *     c_call [SECONDS]
 *
 * Prints one JSON object per card. As there, the usage is put together anew for every call, the clock is read once in 1,000
 * of them, and quantities change from quote to quote; their text, which only C needs, is made by the caller and counts. No
 * database is asked: the ledger is in memory, and keeps a copy of the rate cards.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "credits.h"

#define QUOTES_PER_READING 1000

static credits_ledger *ledger;
static volatile int64_t total; /* so that no quote is for nothing */

/* Ends the program where a call fails. */
static void must(credits_code code, credits_error **error) {
    if (code != CREDITS_OK) {
        fprintf(stderr, "%s: %s\n", credits_code_name(code), credits_error_message(*error));
        exit(1);
    }
}

static void quote(credits_usage *usage) {
    credits_error *error = NULL;
    credits_quote quote;
    usage->user_id.bytes[15] = 1;
    must(credits_calculate(ledger, usage, &quote, NULL, &error), &error);
    total += quote.credits;
}

static void per_unit(uint64_t n) {
    char quantity[24];
    const credits_attribute attributes[] = {{"resolution", "2048x2048"}, {"quality", "hd"}};
    credits_usage usage = CREDITS_USAGE_INIT;
    snprintf(quantity, sizeof quantity, "%" PRIu64, 1 + n % 8);
    usage.feature = "image_generation";
    usage.quantity = quantity;
    usage.attributes = attributes;
    usage.attributes_count = 2;
    quote(&usage);
}

static void per_thousand(uint64_t n) {
    char input[24], output[24];
    const credits_number quantities[] = {{"input_tokens", input}, {"output_tokens", output}};
    const credits_attribute attributes[] = {{"model", "pro"}};
    credits_usage usage = CREDITS_USAGE_INIT;
    snprintf(input, sizeof input, "%" PRIu64, 800 + n % 4096);
    snprintf(output, sizeof output, "%" PRIu64, 100 + n % 1024);
    usage.feature = "text_processing";
    usage.quantities = quantities;
    usage.quantities_count = 2;
    usage.attributes = attributes;
    usage.attributes_count = 1;
    quote(&usage);
}

static void graduated(uint64_t n) {
    char quantity[48];
    credits_usage usage = CREDITS_USAGE_INIT;
    uint64_t milliseconds = 301000 + n % 60000;
    snprintf(quantity, sizeof quantity, "%" PRIu64 ".%03" PRIu64, milliseconds / 1000, milliseconds % 1000);
    usage.feature = "audio_generation";
    usage.quantity = quantity;
    quote(&usage);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void run(const char *what, double seconds, void (*one)(uint64_t)) {
    uint64_t quotes = 0, n;
    double begin = now(), end = begin, best = 0;
    while (end - begin < seconds) {
        double reading = end;
        for (n = quotes; n < quotes + QUOTES_PER_READING; n++) one(n);
        quotes += QUOTES_PER_READING;
        end = now();
        if (QUOTES_PER_READING / (end - reading) > best) best = QUOTES_PER_READING / (end - reading);
    }
    printf("{\"quotes\": \"%s\", \"per_second\": %.0f, \"best_thousand_per_second\": %.0f}\n", what,
           (double)quotes / (end - begin), best);
}

int main(int count, char **arguments) {
    double seconds = count > 1 ? atof(arguments[1]) : 2.0;
    credits_error *error = NULL;
    must(credits_open("sqlite::memory:", NULL, &ledger, &error), &error);
    must(credits_migrate(ledger, &error), &error);
    must(credits_seed_catalog(ledger, &error), &error);
    run("through a ledger: per unit, two multipliers", seconds, per_unit);
    run("through a ledger: two quantities per 1000, a multiplier", seconds, per_thousand);
    run("through a ledger: three graduated tiers", seconds, graduated);
    credits_close(ledger);
    return 0;
}
