/* Runs the tests, each on a database of its own, and says how many there are. */
#include <stdlib.h>

#include "check.h"

jmp_buf failed;
credits_clock *the_clock;
credits_ledger *ledger;
static const char *base; /* of the databases: "sqlite:///folder" or "postgresql://..." */
static int number;       /* of the test */

credits_uuid id_of(unsigned char n) {
    credits_uuid id = {{0}};
    id.bytes[15] = n;
    return id;
}

credits_ledger *open_with(credits_settings settings) {
    char url[512], schema[32];
    credits_ledger *opened = NULL;
    settings.clock = the_clock;
    settings.patience = SECOND;
    snprintf(schema, sizeof schema, "test_%d", number);
    if (strncmp(base, "sqlite", 6) == 0) {
        snprintf(url, sizeof url, "%s/%d.db", base, number);
    } else {
        snprintf(url, sizeof url, "%s", base);
        settings.schema = schema;
    }
    OK(credits_open(url, &settings, &opened, &error));
    CHECK(opened != NULL);
    return opened;
}

credits_ledger *open_anew(void) {
    credits_settings settings = CREDITS_SETTINGS_INIT;
    return open_with(settings);
}

credits_ledger *open_empty(void) {
    credits_ledger *empty;
    number += 1000;
    empty = open_anew();
    number -= 1000;
    return empty;
}

int64_t available(credits_uuid user) {
    credits_balance balance;
    OK(credits_get_balance(ledger, user, 0, &balance, &error));
    return balance.available;
}

credits_uuid a_package(void) {
    credits_save_package_options save = CREDITS_SAVE_PACKAGE_INIT;
    credits_package saved;
    save.name = "测试套餐";
    save.price = "9.90";
    save.credits = 100;
    save.bonus_credits = 10;
    save.validity_days = 30;
    OK(credits_save_package(ledger, &save, &saved, &error));
    return saved.id;
}

credits_order an_order(credits_uuid user, credits_uuid package, const char *channel) {
    credits_create_order_options create = CREDITS_CREATE_ORDER_INIT;
    credits_order order;
    create.user_id = user;
    create.package_id = package;
    create.channel = channel;
    OK(credits_create_order(ledger, &create, &order, &error));
    return order;
}

int main(int count, char **arguments) {
    static const struct test *const SUITES[] = {LEDGER_TESTS, ORDER_TESTS, CHANNEL_TESTS};
    volatile int passed = 0, failures = 0;
    volatile size_t suite;
    const struct test *volatile test;
    if (count < 2) {
        fprintf(stderr, "usage: %s URL [TEST]\n", arguments[0]);
        return 2;
    }
    base = arguments[1];
    for (suite = 0; suite < sizeof SUITES / sizeof *SUITES; suite++) {
        for (test = SUITES[suite]; test->name != NULL; test++) {
            number++;
            if (count > 2 && strcmp(arguments[2], test->name) != 0) continue;
            the_clock = credits_clock_new(START);
            ledger = NULL;
            if (setjmp(failed) == 0) {
                ledger = open_anew();
                OK(credits_migrate(ledger, &error));
                OK(credits_seed_catalog(ledger, &error));
                test->run();
                printf("test %s ... ok\n", test->name);
                passed++;
            } else {
                printf("test %s ... FAILED\n", test->name);
                failures++;
            }
            fflush(stdout);
            credits_close(ledger);
            credits_clock_free(the_clock);
        }
    }
    printf("test result: %s. %d passed; %d failed; 0 ignored\n", failures ? "FAILED" : "ok", passed, failures);
    return failures != 0;
}
