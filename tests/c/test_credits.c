/* Every function of libcredits but those about orders: what it does, and what it says to NULL, to text that is no UTF-8, to
 * wrong states. */
#include <dirent.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static void grant(credits_uuid user, int64_t amount) {
    credits_grant_options options = CREDITS_GRANT_INIT;
    options.user_id = user;
    options.amount = amount;
    options.source = CREDITS_SOURCE_PURCHASE;
    OK(credits_grant(ledger, &options, NULL, &error));
}

static credits_consumption hold(credits_uuid user, int64_t amount) {
    credits_consume_options options = CREDITS_CONSUME_INIT;
    credits_consumption held;
    options.user_id = user;
    options.amount = amount;
    OK(credits_consume(ledger, &options, &held, &error));
    CHECK(held.status == CREDITS_PENDING && held.amount == amount);
    return held;
}

static void test_versions_agree(void) {
    CHECK(strcmp(credits_version(), CREDITS_VERSION) == 0);
    CHECK(credits_version_number() == CREDITS_VERSION_NUMBER);
}

static void test_code_names(void) {
    CHECK(strcmp(credits_code_name(CREDITS_OK), "ok") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_VALIDATION), "validation") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_NOT_FOUND), "not_found") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_INSUFFICIENT_CREDITS), "insufficient_credits") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_HOLD_EXPIRED), "hold_expired") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_INVALID_STATE), "invalid_state") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_IDEMPOTENCY_CONFLICT), "idempotency_conflict") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_PAYMENT_VERIFICATION), "payment_verification") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_UNAVAILABLE), "unavailable") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_UNKNOWN_OUTCOME), "unknown_outcome") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_FORKED), "forked") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_INTERNAL), "internal") == 0);
    CHECK(strcmp(credits_code_name(CREDITS_PAYMENT_CHANNEL), "payment_channel") == 0);
    CHECK(strcmp(credits_code_name(-1), "") == 0);
    CHECK(strcmp(credits_code_name(1000), "") == 0);
}

static void test_nothing_is_freed_and_asked(void) {
    credits_error_free(NULL);
    credits_string_free(NULL);
    credits_clock_free(NULL);
    credits_close(NULL);
    CHECK(credits_error_code(NULL) == CREDITS_OK);
    CHECK(strcmp(credits_error_message(NULL), "") == 0);
    CHECK(strcmp(credits_error_facts(NULL), "{}") == 0);
    CHECK(credits_error_required(NULL) == 0 && credits_error_available(NULL) == 0);
}

static void test_ids(void) {
    credits_uuid id;
    char text[CREDITS_UUID_TEXT];
    const char *written = "0191d8f0-0000-7000-8000-0000000000ab";
    OK(credits_uuid_parse(written, &id, &error));
    CHECK(id.bytes[0] == 0x01 && id.bytes[15] == 0xab);
    CHECK(credits_uuid_format(id, text) == CREDITS_OK);
    CHECK(strcmp(text, written) == 0);
    REFUSED(CREDITS_VALIDATION, "written", credits_uuid_parse("mia", &id, &error));
    REFUSED(CREDITS_VALIDATION, "written", credits_uuid_parse(NULL, &id, &error));
    REFUSED(CREDITS_VALIDATION, "written", credits_uuid_parse(BAD_UTF8, &id, &error));
    REFUSED(CREDITS_VALIDATION, "id", credits_uuid_parse(written, NULL, &error));
    CHECK(credits_uuid_format(id, NULL) == CREDITS_VALIDATION);
}

static void test_clocks(void) {
    int64_t now = 0;
    credits_clock *clock = credits_clock_new(START);
    OK(credits_clock_now(clock, &now, &error));
    CHECK(now == START);
    OK(credits_clock_advance(clock, 5, &error));
    OK(credits_clock_now(clock, &now, &error));
    CHECK(now == START + 5);
    OK(credits_clock_set(clock, 7, &error));
    OK(credits_clock_now(clock, &now, &error));
    CHECK(now == 7);
    REFUSED(CREDITS_VALIDATION, "by", credits_clock_advance(clock, -1, &error));
    REFUSED(CREDITS_VALIDATION, "now", credits_clock_now(clock, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "clock", credits_clock_now(NULL, &now, &error));
    REFUSED(CREDITS_VALIDATION, "clock", credits_clock_set(NULL, 1, &error));
    REFUSED(CREDITS_VALIDATION, "clock", credits_clock_advance(NULL, 1, &error));
    credits_clock_free(clock);
}

static void test_what_can_t_be_opened(void) {
    credits_ledger *opened = NULL;
    credits_settings settings = CREDITS_SETTINGS_INIT;
    REFUSED(CREDITS_VALIDATION, "url", credits_open(NULL, NULL, &opened, &error));
    REFUSED(CREDITS_VALIDATION, "url", credits_open(BAD_UTF8, NULL, &opened, &error));
    REFUSED(CREDITS_VALIDATION, "url", credits_open("mysql://x", NULL, &opened, &error));
    REFUSED(CREDITS_VALIDATION, "opened", credits_open("memory:", NULL, NULL, &error));
    REFUSED(CREDITS_UNAVAILABLE, "remedy", credits_open("sqlite:////no/such/folder/x.db", NULL, &opened, &error));
    settings.hold_ttl = 5;
    REFUSED(CREDITS_VALIDATION, "hold_ttl", credits_open("memory:", &settings, &opened, &error));
    settings.hold_ttl = -5;
    REFUSED(CREDITS_VALIDATION, "hold_ttl", credits_open("memory:", &settings, &opened, &error));
    settings.hold_ttl = 0;
    settings.on_lot_expired_while_held = 7;
    REFUSED(CREDITS_VALIDATION, "on_lot_expired", credits_open("memory:", &settings, &opened, &error));
    settings.on_lot_expired_while_held = CREDITS_EXPIRED_LOTS_GRACE;
    settings.schema = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "schema", credits_open("memory:", &settings, &opened, &error));
    settings.schema = NULL;
    settings.size = 0;
    REFUSED(CREDITS_VALIDATION, "size", credits_open("memory:", &settings, &opened, &error));
    CHECK(opened == NULL);
    CHECK(credits_open(NULL, NULL, &opened, NULL) == CREDITS_VALIDATION);
    settings.size = sizeof settings;
    OK(credits_open("memory:", &settings, &opened, &error));
    credits_close(opened);
    settings.account_memory = -1;
    OK(credits_open("memory:", &settings, &opened, &error));
    credits_close(opened);
    settings.max_clock_skew = 999999;
    REFUSED(CREDITS_VALIDATION, "max_clock_skew", credits_open("memory:", &settings, &opened, &error));
    settings.max_clock_skew = 1000000;
    OK(credits_open("memory:", &settings, &opened, &error));
    credits_close(opened);
}

static void test_a_cache(void) {
    credits_settings settings = CREDITS_SETTINGS_INIT;
    credits_ledger *cached = NULL;
    credits_uuid user = id_of(1);
    credits_balance balance;
    char *stats = NULL;
    settings.cache_prefix = "shop";
    REFUSED(CREDITS_VALIDATION, "cache_prefix", credits_open("memory:", &settings, &cached, &error));
    settings.cache = "redis://localhost";
    settings.cache_prefix = NULL;
    REFUSED(CREDITS_VALIDATION, "cache_prefix", credits_open("memory:", &settings, &cached, &error));
    settings.cache_prefix = "shop";
    settings.cache_timeout = -1;
    REFUSED(CREDITS_VALIDATION, "cache_timeout", credits_open("memory:", &settings, &cached, &error));
    settings.cache = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "cache", credits_open("memory:", &settings, &cached, &error));
    settings.cache = "redis://127.0.0.1:1";
    settings.cache_timeout = 1000;
    OK(credits_open("memory:", &settings, &cached, &error)); /* which is away */
    OK(credits_get_balance(cached, user, 0, &balance, &error));
    credits_close(cached);
    settings.cache = "process";
    settings.cache_prefix = NULL;
    settings.cache_timeout = 0;
    settings.cache_max_age = 3600 * INT64_C(1000000);
    settings.cache_accounts = 10;
    OK(credits_open("memory:", &settings, &cached, &error));
    OK(credits_get_balance(cached, user, 0, &balance, &error));
    CHECK(balance.available == 0);
    {
        credits_grant_options grant = CREDITS_GRANT_INIT;
        grant.user_id = user;
        grant.amount = 100;
        grant.source = CREDITS_SOURCE_PURCHASE;
        OK(credits_grant(cached, &grant, NULL, &error));
    }
    OK(credits_get_balance(cached, user, 0, &balance, &error));
    CHECK(balance.available == 100);
    OK(credits_get_fresh_balance(cached, user, &balance, &error));
    CHECK(balance.available == 100);
    REFUSED(CREDITS_VALIDATION, "balance", credits_get_fresh_balance(cached, user, NULL, &error));
    OK(credits_stats(cached, &stats, &error));
    CHECK(strstr(stats, "\"cache\":{\"away\":0,\"hits\":1,\"misses\":1}") != NULL);
    credits_string_free(stats);
    credits_close(cached);
}

static void test_structs_of_other_versions(void) {
    /* An older program's struct ends before fields that this library knows; a newer one's goes on behind them. */
    struct {
        credits_consume_options known;
        int64_t unknown;
    } newer = {CREDITS_CONSUME_INIT, 0};
    credits_consume_options older = CREDITS_CONSUME_INIT;
    credits_uuid user = id_of(1);
    grant(user, 100);
    older.size = offsetof(credits_consume_options, feature);
    older.user_id = user;
    older.amount = 10;
    older.reference = BAD_UTF8; /* beyond its size */
    OK(credits_consume(ledger, &older, NULL, &error));
    newer.known.size = sizeof newer;
    newer.known.user_id = user;
    newer.known.amount = 10;
    OK(credits_consume(ledger, &newer.known, NULL, &error));
    newer.unknown = 1;
    REFUSED(CREDITS_VALIDATION, "size", credits_consume(ledger, &newer.known, NULL, &error));
    CHECK(available(user) == 80);
}

static void test_the_tables_are_missing(void) {
    credits_ledger *empty = open_empty();
    REFUSED(CREDITS_UNAVAILABLE, "remedy", credits_check(empty, &error));
    credits_close(empty);
    OK(credits_check(ledger, &error));
    OK(credits_migrate(ledger, &error));
}

static void test_the_life_of_a_credit(void) {
    credits_uuid user = id_of(1);
    credits_consumption held = {0}, again, done;
    credits_consume_options consume = CREDITS_CONSUME_INIT;
    credits_confirm_options confirm = CREDITS_CONFIRM_INIT;
    credits_refund_options refund = CREDITS_REFUND_INIT;
    credits_balance balance;
    char *metadata = NULL;
    grant(user, 100);
    consume.user_id = user;
    consume.amount = 75;
    consume.feature = "图像生成";
    consume.reference = "job-7";
    consume.metadata = "{\"模型\": \"小\"}";
    consume.idempotency_key = "job-7";
    consume.ttl = 60 * (int64_t)SECOND;
    OK(credits_consume(ledger, &consume, &held, &error));
    CHECK(strcmp(held.feature, "图像生成") == 0 && strcmp(held.reference, "job-7") == 0);
    CHECK(held.has_metadata == 1 && held.expires_at == START + 60 * (int64_t)SECOND && held.settled_at == 0);
    OK(credits_consume(ledger, &consume, &again, &error));
    CHECK(memcmp(&held, &again, sizeof held) == 0);
    OK(credits_metadata(ledger, held.id, &metadata, &error));
    CHECK(strstr(metadata, "模型") != NULL);
    credits_string_free(metadata);
    consume.amount = 76;
    REFUSED(CREDITS_IDEMPOTENCY_CONFLICT, "{", credits_consume(ledger, &consume, &again, &error));
    OK(credits_get_balance(ledger, user, 0, &balance, &error));
    CHECK(balance.available == 25 && balance.held == 75 && balance.granted == 100 && balance.seq == 2);
    OK(credits_extend(ledger, held.id, 120 * (int64_t)SECOND, NULL, &done, &error));
    CHECK(done.expires_at == START + 120 * (int64_t)SECOND);
    confirm.consumption_id = held.id;
    confirm.amount = 60;
    OK(credits_confirm(ledger, &confirm, &done, &error));
    CHECK(done.status == CREDITS_CONFIRMED && done.captured == 60 && done.settled_at == START);
    refund.consumption_id = held.id;
    refund.amount = 10;
    refund.reason = "too long";
    OK(credits_refund(ledger, &refund, &done, &error));
    CHECK(done.reversed == 10);
    refund.pending_only = 1;
    refund.amount = 0;
    REFUSED(CREDITS_INVALID_STATE, "confirmed", credits_refund(ledger, &refund, &done, &error));
    OK(credits_get_consumption(ledger, held.id, &done, &error));
    CHECK(done.captured == 60 && done.reversed == 10);
    CHECK(available(user) == 50);
    OK(credits_get_balance(ledger, user, START - 1, &balance, &error));
    CHECK(balance.available == 0 && balance.seq == 0);
}

static void test_refusals(void) {
    credits_uuid user = id_of(1), none = {{0}};
    credits_consume_options consume = CREDITS_CONSUME_INIT;
    credits_confirm_options confirm = CREDITS_CONFIRM_INIT;
    credits_consumption held, untouched;
    credits_error *error = NULL;
    grant(user, 50);
    memset(&untouched, 0x5a, sizeof untouched);
    held = untouched;
    consume.user_id = user;
    consume.amount = 75;
    CHECK(credits_consume(ledger, &consume, &held, &error) == CREDITS_INSUFFICIENT_CREDITS);
    CHECK(credits_error_required(error) == 75 && credits_error_available(error) == 50);
    CHECK(strstr(credits_error_facts(error), "\"required\":75") != NULL);
    credits_error_free(error);
    CHECK(memcmp(&held, &untouched, sizeof held) == 0);
    CHECK(credits_consume(ledger, &consume, NULL, NULL) == CREDITS_INSUFFICIENT_CREDITS);
    consume.user_id = none;
    REFUSED(CREDITS_VALIDATION, "user_id", credits_consume(ledger, &consume, NULL, &error));
    consume.user_id = user;
    consume.amount = 0;
    REFUSED(CREDITS_VALIDATION, "amount", credits_consume(ledger, &consume, NULL, &error));
    consume.amount = -1;
    REFUSED(CREDITS_VALIDATION, "amount", credits_consume(ledger, &consume, NULL, &error));
    consume.amount = 1;
    consume.quantity = "1";
    REFUSED(CREDITS_VALIDATION, "amount", credits_consume(ledger, &consume, NULL, &error));
    consume.quantity = NULL;
    consume.ttl = 5;
    REFUSED(CREDITS_VALIDATION, "ttl", credits_consume(ledger, &consume, NULL, &error));
    consume.ttl = -1;
    REFUSED(CREDITS_VALIDATION, "ttl", credits_consume(ledger, &consume, NULL, &error));
    consume.ttl = 0;
    consume.reference = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "reference", credits_consume(ledger, &consume, NULL, &error));
    consume.reference = NULL;
    consume.feature = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "feature", credits_consume(ledger, &consume, NULL, &error));
    consume.feature = NULL;
    consume.metadata = "[1]";
    REFUSED(CREDITS_VALIDATION, "metadata", credits_consume(ledger, &consume, NULL, &error));
    consume.metadata = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "metadata", credits_consume(ledger, &consume, NULL, &error));
    consume.metadata = NULL;
    consume.idempotency_key = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "idempotency_key", credits_consume(ledger, &consume, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_consume(ledger, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "ledger", credits_consume(NULL, &consume, NULL, &error));
    confirm.consumption_id = id_of(9);
    REFUSED(CREDITS_NOT_FOUND, "consumption", credits_confirm(ledger, &confirm, NULL, &error));
    confirm.consumption_id = none;
    REFUSED(CREDITS_VALIDATION, "consumption_id", credits_confirm(ledger, &confirm, NULL, &error));
    confirm.consumption_id = hold(user, 10).id;
    confirm.overage = 3;
    REFUSED(CREDITS_VALIDATION, "overage", credits_confirm(ledger, &confirm, NULL, &error));
    confirm.overage = CREDITS_OVERAGE_REJECT;
    confirm.late = -1;
    REFUSED(CREDITS_VALIDATION, "late", credits_confirm(ledger, &confirm, NULL, &error));
    confirm.late = CREDITS_LATE_REJECT;
    confirm.amount = 11;
    REFUSED(CREDITS_VALIDATION, "amount", credits_confirm(ledger, &confirm, NULL, &error));
    confirm.quantity = "1";
    REFUSED(CREDITS_VALIDATION, "amount", credits_confirm(ledger, &confirm, NULL, &error));
    confirm.quantity = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "quantity", credits_confirm(ledger, &confirm, NULL, &error));
    confirm.quantity = "many";
    REFUSED(CREDITS_VALIDATION, "quantity", credits_confirm(ledger, &confirm, NULL, &error));
    CHECK(available(user) == 40);
}

static void test_a_deadline_passes(void) {
    credits_uuid user = id_of(1);
    credits_confirm_options confirm = CREDITS_CONFIRM_INIT;
    credits_consumption held, done;
    credits_matured matured;
    credits_pending pending;
    grant(user, 100);
    held = hold(user, 60);
    OK(credits_pending_holds(ledger, &pending, &error));
    CHECK(pending.holds == 1 && pending.credits == 60 && pending.overdue == 0);
    OK(credits_clock_advance(the_clock, 3600 * (int64_t)SECOND, &error));
    OK(credits_get_consumption(ledger, held.id, &done, &error));
    CHECK(done.status == CREDITS_EXPIRED && done.settled_at == held.expires_at);
    confirm.consumption_id = held.id;
    REFUSED(CREDITS_HOLD_EXPIRED, "expired_at", credits_confirm(ledger, &confirm, NULL, &error));
    REFUSED(CREDITS_HOLD_EXPIRED, "expired_at", credits_extend(ledger, held.id, SECOND, NULL, NULL, &error));
    OK(credits_pending_holds(ledger, &pending, &error));
    CHECK(pending.holds == 0 && pending.overdue == 1);
    OK(credits_expire_pending(ledger, 0, &matured, &error));
    CHECK(matured.holds == 1 && matured.released == 60);
    OK(credits_expire_pending(ledger, 5, NULL, &error));
    confirm.late = CREDITS_LATE_RECHARGE;
    OK(credits_confirm(ledger, &confirm, &done, &error));
    CHECK(done.status == CREDITS_CONFIRMED && available(user) == 40);
    REFUSED(CREDITS_VALIDATION, "pending", credits_pending_holds(ledger, NULL, &error));
}

static void test_lots_expire(void) {
    credits_gift_options gift = CREDITS_GIFT_INIT;
    credits_matured matured;
    credits_receipt receipt;
    credits_balance balance;
    gift.user_id = id_of(1);
    gift.amount = 30;
    gift.reason = "welcome";
    gift.operator_name = "ops";
    gift.expires_at = START + SECOND;
    OK(credits_gift(ledger, &gift, &receipt, &error));
    CHECK(receipt.kind == CREDITS_KIND_GIFT && receipt.source == CREDITS_SOURCE_GIFT && receipt.expires_at == START + SECOND);
    OK(credits_get_balance(ledger, id_of(1), 0, &balance, &error));
    CHECK(balance.next_expiring == 30 && balance.next_expires_at == START + SECOND);
    OK(credits_clock_advance(the_clock, SECOND, &error));
    OK(credits_expire_lots(ledger, 0, &matured, &error));
    CHECK(matured.lots == 1 && matured.expired == 30);
    OK(credits_expire_lots(ledger, 0, NULL, &error));
    gift.reason = NULL;
    REFUSED(CREDITS_VALIDATION, "reason", credits_gift(ledger, &gift, NULL, &error));
    gift.reason = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "reason", credits_gift(ledger, &gift, NULL, &error));
    gift.reason = "x";
    gift.operator_name = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "operator_name", credits_gift(ledger, &gift, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_gift(ledger, NULL, NULL, &error));
}

static void test_grants_adjustments_limits_clawbacks(void) {
    credits_uuid user = id_of(1);
    credits_grant_options grant = CREDITS_GRANT_INIT;
    credits_gift_options adjust = CREDITS_ADJUST_INIT;
    credits_clawback_options clawback = CREDITS_CLAWBACK_INIT;
    credits_receipt receipt;
    credits_clawed_back back;
    grant.user_id = user;
    grant.amount = 100;
    REFUSED(CREDITS_VALIDATION, "source", credits_grant(ledger, &grant, NULL, &error));
    grant.source = CREDITS_SOURCE_PURCHASE;
    grant.cost_minor = 990;
    REFUSED(CREDITS_VALIDATION, "cost_currency", credits_grant(ledger, &grant, NULL, &error));
    grant.cost_currency = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "cost_currency", credits_grant(ledger, &grant, NULL, &error));
    grant.cost_currency = "CNY";
    grant.reference = "order-1";
    grant.idempotency_key = "order-1";
    OK(credits_grant(ledger, &grant, &receipt, &error));
    CHECK(receipt.amount == 100 && receipt.available == 100 && receipt.seq == 1 && receipt.created_at == START);
    CHECK(receipt.kind == CREDITS_KIND_GRANT && receipt.source == CREDITS_SOURCE_PURCHASE && receipt.expires_at == 0);
    clawback.user_id = user;
    clawback.lot_id = receipt.lot_id;
    adjust.user_id = user;
    adjust.amount = -30;
    adjust.reason = "a mistake";
    OK(credits_adjust(ledger, &adjust, &receipt, &error));
    CHECK(receipt.kind == CREDITS_KIND_ADJUST && receipt.available == 70);
    adjust.expires_at = 1;
    REFUSED(CREDITS_VALIDATION, "expires_at", credits_adjust(ledger, &adjust, NULL, &error));
    adjust.expires_at = 0;
    adjust.amount = -100;
    REFUSED(CREDITS_INSUFFICIENT_CREDITS, "required", credits_adjust(ledger, &adjust, NULL, &error));
    OK(credits_set_credit_limit(ledger, user, 50, "limit", &receipt, &error));
    CHECK(receipt.kind == CREDITS_KIND_CREDIT_LIMIT && receipt.credit_limit == 50);
    REFUSED(CREDITS_VALIDATION, "credit_limit", credits_set_credit_limit(ledger, user, -1, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "idempotency_key",
            credits_set_credit_limit(ledger, user, 1, BAD_UTF8, NULL, &error));
    hold(user, 110);
    clawback.shortfall = CREDITS_SHORTFALL_DEBT;
    clawback.reason = "refunded";
    OK(credits_clawback(ledger, &clawback, &back, &error));
    CHECK(back.taken == 0 && back.shortfall > 0 && back.debt == back.shortfall);
    clawback.shortfall = 2;
    REFUSED(CREDITS_VALIDATION, "shortfall", credits_clawback(ledger, &clawback, NULL, &error));
    clawback.shortfall = CREDITS_SHORTFALL_FORGIVE;
    clawback.lot_id = id_of(7);
    REFUSED(CREDITS_NOT_FOUND, "lot", credits_clawback(ledger, &clawback, NULL, &error));
    clawback.reason = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "reason", credits_clawback(ledger, &clawback, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_clawback(ledger, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_adjust(ledger, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_grant(ledger, NULL, NULL, &error));
}

static void test_many_at_once(void) {
    credits_consume_options many[4] = {CREDITS_CONSUME_INIT, CREDITS_CONSUME_INIT, CREDITS_CONSUME_INIT,
                                       CREDITS_CONSUME_INIT};
    credits_outcome outcomes[4];
    int n;
    grant(id_of(1), 100);
    for (n = 0; n < 4; n++) {
        many[n].user_id = id_of(1);
        many[n].amount = 60;
    }
    many[1].amount = 0;
    many[1].feature = "video_generation";
    many[1].quantity = "1";
    many[2].reference = BAD_UTF8;
    OK(credits_consume_many(ledger, many, 4, outcomes, &error));
    CHECK(outcomes[0].code == CREDITS_OK && outcomes[0].consumption.amount == 60);
    CHECK(outcomes[1].code == CREDITS_OK && strcmp(outcomes[1].consumption.feature, "video_generation") == 0);
    CHECK(outcomes[2].code == CREDITS_VALIDATION && strstr(outcomes[2].message, "reference") != NULL);
    CHECK(outcomes[3].code == CREDITS_INSUFFICIENT_CREDITS && outcomes[3].required == 60);
    OK(credits_consume_many(ledger, NULL, 0, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_consume_many(ledger, NULL, 1, outcomes, &error));
    REFUSED(CREDITS_VALIDATION, "outcomes", credits_consume_many(ledger, many, 1, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "count", credits_consume_many(ledger, many, 1001, outcomes, &error));
}

/* An item whose key was answered before gets that answer, also where it can't be priced any more. */
static void test_many_replay_what_was_answered(void) {
    const char *by_seconds = "{\"feature\":\"dubbing\",\"name\":\"d\",\"components\":[{\"quantity\":\"seconds\","
                             "\"model\":\"per_unit\",\"rate\":2}]}";
    const char *flat = "{\"feature\":\"dubbing\",\"name\":\"d\",\"components\":[{\"model\":\"flat\",\"rate\":9}]}";
    credits_consume_options many[4] = {CREDITS_CONSUME_INIT, CREDITS_CONSUME_INIT, CREDITS_CONSUME_INIT,
                                       CREDITS_CONSUME_INIT};
    credits_outcome first[4], again[4];
    int n;
    grant(id_of(1), 100);
    OK(credits_set_pricing(ledger, by_seconds, id_of(0), 0, 0, NULL, &error));
    for (n = 0; n < 4; n++) many[n].user_id = id_of(1);
    many[0].feature = "dubbing";
    many[0].quantity = "3";
    many[0].idempotency_key = "priced";
    many[1].amount = 10;
    many[1].idempotency_key = "amount";
    many[2].feature = "nobody prices this";
    many[2].idempotency_key = "unpriced";
    many[3].feature = "dubbing";
    many[3].quantity = "4";
    OK(credits_consume_many(ledger, many, 4, first, &error));
    CHECK(first[0].code == CREDITS_OK && first[0].consumption.amount == 6);
    CHECK(first[1].code == CREDITS_OK && first[2].code == CREDITS_NOT_FOUND && first[3].code == CREDITS_OK);
    OK(credits_set_pricing(ledger, flat, id_of(0), 0, 0, NULL, &error));
    OK(credits_consume_many(ledger, many, 4, again, &error));
    for (n = 0; n < 2; n++) {
        CHECK(again[n].code == CREDITS_OK);
        CHECK(memcmp(&again[n].consumption.id, &first[n].consumption.id, sizeof(credits_uuid)) == 0);
    }
    CHECK(again[2].code == CREDITS_NOT_FOUND && again[3].code == CREDITS_VALIDATION);
    many[0].quantity = "4";
    OK(credits_consume_many(ledger, many, 1, again, &error));
    CHECK(again[0].code == CREDITS_IDEMPOTENCY_CONFLICT);
}

/* An array of structs of a program that was compiled with another version: exactly as long as it says, so that the
   sanitizers see every step beside it. */
static char *array_of(size_t size, size_t count) {
    char *array = calloc(count, size);
    size_t n;
    CHECK(array != NULL);
    for (n = 0; n < count; n++) {
        credits_consume_options one = CREDITS_CONSUME_INIT;
        one.size = size;
        one.user_id = id_of(1);
        one.amount = (int64_t)(n + 1);
        memcpy(array + n * size, &one, size < sizeof one ? size : sizeof one);
    }
    return array;
}

static void test_arrays_of_other_versions(void) {
    const size_t sizes[] = {offsetof(credits_consume_options, feature), offsetof(credits_consume_options, reference),
                            sizeof(credits_consume_options), sizeof(credits_consume_options) + sizeof(void *),
                            sizeof(credits_consume_options) + 10 * sizeof(void *)};
    size_t kind, n, other;
    grant(id_of(1), 1000);
    for (kind = 0; kind < sizeof sizes / sizeof *sizes; kind++) {
        char *array = array_of(sizes[kind], 3);
        const credits_consume_options *options = (const credits_consume_options *)(void *)array;
        credits_outcome outcomes[3];
        OK(credits_consume_many(ledger, options, 3, outcomes, &error));
        for (n = 0; n < 3; n++)
            CHECK(outcomes[n].code == CREDITS_OK && outcomes[n].consumption.amount == (int64_t)(n + 1));
        /* What a newer program says and we don't know is its own item's fault. */
        if (sizes[kind] > sizeof(credits_consume_options)) {
            array[2 * sizes[kind] - 1] = 1;
            OK(credits_consume_many(ledger, options, 3, outcomes, &error));
            CHECK(outcomes[0].code == CREDITS_OK && outcomes[2].code == CREDITS_OK);
            CHECK(outcomes[1].code == CREDITS_VALIDATION && strstr(outcomes[1].message, "newer") != NULL);
            array[2 * sizes[kind] - 1] = 0;
        }
        /* All are of one size, or nobody can say where the next one is. */
        other = sizes[kind] - sizeof(void *);
        memcpy(array + 2 * sizes[kind], &other, sizeof other);
        REFUSED(CREDITS_VALIDATION, "size", credits_consume_many(ledger, options, 3, outcomes, &error));
        other = 0;
        memcpy(array, &other, sizeof other);
        REFUSED(CREDITS_VALIDATION, "size", credits_consume_many(ledger, options, 3, outcomes, &error));
        other = sizes[kind] - 1; /* no struct of ours: the second one would not be aligned */
        memcpy(array, &other, sizeof other);
        REFUSED(CREDITS_VALIDATION, "size", credits_consume_many(ledger, options, 3, outcomes, &error));
        other = (size_t)1 << 40;
        memcpy(array, &other, sizeof other);
        REFUSED(CREDITS_VALIDATION, "size", credits_consume_many(ledger, options, 3, outcomes, &error));
        free(array);
    }
}

static void test_pages(void) {
    credits_uuid user = id_of(1);
    credits_transaction entries[3];
    credits_consumption uses[2];
    credits_page_options options = CREDITS_PAGE_INIT;
    char next[CREDITS_CURSOR_TEXT];
    size_t count = 0;
    int n;
    grant(user, 100);
    for (n = 0; n < 4; n++) hold(user, 10);
    OK(credits_transactions(ledger, user, NULL, entries, 3, &count, next, &error));
    CHECK(count == 3 && entries[0].seq == 5 && entries[0].kind == CREDITS_KIND_CONSUME && next[0] != '\0');
    CHECK(entries[0].change == -10 && entries[0].held_change == 10 && entries[0].held == 40);
    options.cursor = next;
    OK(credits_transactions(ledger, user, &options, entries, 3, &count, next, &error));
    CHECK(count == 2 && entries[1].kind == CREDITS_KIND_GRANT && next[0] == '\0');
    CHECK(strcmp(entries[1].counter_account, "issued.purchase") == 0);
    options.cursor = NULL;
    options.kind = CREDITS_KIND_GRANT;
    OK(credits_transactions(ledger, user, &options, entries, 3, &count, NULL, &error));
    CHECK(count == 1);
    options.kind = 0;
    options.since = START + 1;
    OK(credits_transactions(ledger, user, &options, entries, 3, &count, NULL, &error));
    CHECK(count == 0);
    options.since = 0;
    options.kind = 99;
    REFUSED(CREDITS_VALIDATION, "kind", credits_transactions(ledger, user, &options, entries, 3, &count, NULL, &error));
    options.kind = 0;
    options.cursor = "nonsense";
    REFUSED(CREDITS_VALIDATION, "cursor", credits_transactions(ledger, user, &options, entries, 3, &count, NULL, &error));
    options.cursor = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "cursor", credits_consumptions(ledger, user, &options, uses, 2, &count, NULL, &error));
    options.cursor = "";
    options.status = CREDITS_PENDING;
    REFUSED(CREDITS_VALIDATION, "status", credits_transactions(ledger, user, &options, entries, 3, &count, NULL, &error));
    OK(credits_consumptions(ledger, user, &options, uses, 2, &count, next, &error));
    CHECK(count == 2 && uses[0].status == CREDITS_PENDING && next[0] != '\0');
    options.status = 9;
    REFUSED(CREDITS_VALIDATION, "status", credits_consumptions(ledger, user, &options, uses, 2, &count, NULL, &error));
    options.status = 0;
    options.until = 5;
    REFUSED(CREDITS_VALIDATION, "kind", credits_consumptions(ledger, user, &options, uses, 2, &count, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "limit", credits_transactions(ledger, user, NULL, entries, 0, &count, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "items", credits_transactions(ledger, user, NULL, NULL, 3, &count, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "count", credits_transactions(ledger, user, NULL, entries, 3, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "items", credits_consumptions(ledger, user, NULL, NULL, 3, &count, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "count", credits_consumptions(ledger, user, NULL, uses, 2, NULL, NULL, &error));
    REFUSED(CREDITS_NOT_FOUND, "consumption", credits_get_consumption(ledger, user, uses, &error));
    REFUSED(CREDITS_VALIDATION, "consumption", credits_get_consumption(ledger, user, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "balance", credits_get_balance(ledger, user, 0, NULL, &error));
}

static void test_prices(void) {
    credits_usage usage = CREDITS_USAGE_INIT;
    credits_number tokens[2] = {{"input_tokens", "1200"}, {"output_tokens", "500.0"}};
    credits_attribute quality = {"quality", "hd"};
    credits_consume_options consume = CREDITS_CONSUME_INIT;
    credits_confirm_options confirm = CREDITS_CONFIRM_INIT;
    credits_consumption held, done;
    credits_quote quote;
    char *text = NULL;
    int64_t version = 0;
    usage.feature = "text_processing";
    usage.quantities = tokens;
    usage.quantities_count = 2;
    OK(credits_calculate(ledger, &usage, &quote, &text, &error));
    CHECK(quote.credits > 0 && quote.version == 1 && quote.exact[0] != '\0' && strstr(text, "amount") != NULL);
    credits_string_free(text);
    usage.quantity = "1";
    REFUSED(CREDITS_VALIDATION, "quantity", credits_calculate(ledger, &usage, &quote, NULL, &error));
    usage.quantity = NULL;
    tokens[1].number = "x";
    REFUSED(CREDITS_VALIDATION, "quantities", credits_calculate(ledger, &usage, &quote, NULL, &error));
    tokens[1].number = NULL;
    REFUSED(CREDITS_VALIDATION, "quantities", credits_calculate(ledger, &usage, &quote, NULL, &error));
    usage.quantities = NULL;
    REFUSED(CREDITS_VALIDATION, "quantities", credits_calculate(ledger, &usage, &quote, NULL, &error));
    usage.quantities_count = 0;
    usage.feature = "image_generation";
    usage.attributes = &quality;
    usage.attributes_count = 1;
    OK(credits_calculate(ledger, &usage, &quote, NULL, &error));
    quality.value = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "attributes", credits_calculate(ledger, &usage, &quote, NULL, &error));
    usage.attributes_count = 0;
    usage.feature = "nothing";
    REFUSED(CREDITS_NOT_FOUND, "rate card", credits_calculate(ledger, &usage, &quote, NULL, &error));
    usage.feature = NULL;
    REFUSED(CREDITS_VALIDATION, "feature", credits_calculate(ledger, &usage, &quote, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "quote", credits_calculate(ledger, &usage, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_calculate(ledger, NULL, &quote, NULL, &error));

    grant(id_of(1), 1000);
    consume.user_id = id_of(1);
    consume.feature = "video_generation";
    consume.quantity = "10";
    OK(credits_consume(ledger, &consume, &held, &error));
    confirm.consumption_id = held.id;
    confirm.quantity = "5";
    OK(credits_confirm(ledger, &confirm, &done, &error));
    CHECK(done.captured * 2 == held.amount);
    OK(credits_explain(ledger, held.id, &text, &error));
    CHECK(strstr(text, "\"charged\"") != NULL && strstr(text, "purchase") != NULL);
    credits_string_free(text);
    REFUSED(CREDITS_NOT_FOUND, "consumption", credits_explain(ledger, id_of(9), &text, &error));
    REFUSED(CREDITS_VALIDATION, "explanation", credits_explain(ledger, held.id, NULL, &error));

    OK(credits_set_pricing(ledger,
                           "{\"feature\":\"upscaling\",\"name\":\"放大\",\"components\":[{\"model\":\"flat\",\"rate\":\"2\"}]}",
                           id_of(0), 0, 0, &version, &error));
    CHECK(version == 1);
    OK(credits_pricing(ledger, "upscaling", &text, &error));
    CHECK(strstr(text, "放大") != NULL && strstr(text, "\"version\":1") != NULL);
    credits_string_free(text);
    OK(credits_pricing(ledger, NULL, &text, &error));
    credits_string_free(text);
    REFUSED(CREDITS_VALIDATION, "card", credits_set_pricing(ledger, "{}", id_of(0), 0, 0, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "card", credits_set_pricing(ledger, NULL, id_of(0), 0, 0, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "feature", credits_pricing(ledger, BAD_UTF8, &text, &error));
    REFUSED(CREDITS_VALIDATION, "cards", credits_pricing(ledger, NULL, NULL, &error));
}

static void test_packages(void) {
    credits_package packages[16], saved;
    credits_save_package_options save = CREDITS_SAVE_PACKAGE_INIT;
    char *description = NULL;
    size_t count = 0, more = 0;
    OK(credits_packages(ledger, NULL, 0, &count, &error));
    CHECK(count > 0 && count <= 16);
    OK(credits_packages(ledger, packages, 16, &count, &error));
    CHECK(strcmp(packages[0].currency, "CNY") == 0 && strchr(packages[0].price, '.') != NULL);
    OK(credits_get_package(ledger, packages[0].id, &saved, &description, &error));
    CHECK(strcmp(saved.name, packages[0].name) == 0);
    credits_string_free(description);
    save.name = "测试";
    save.price = "9.90";
    save.credits = 100;
    save.bonus_credits = 10;
    save.validity_days = 30;
    OK(credits_save_package(ledger, &save, &saved, &error));
    CHECK(saved.version == 1 && strcmp(saved.price, "9.90") == 0 && saved.active == 1 && saved.validity_days == 30);
    save.package_id = saved.id;
    save.inactive = 1;
    OK(credits_save_package(ledger, &save, &saved, &error));
    CHECK(saved.version == 2 && saved.active == 0);
    OK(credits_packages(ledger, NULL, 0, &more, &error));
    CHECK(more == count + 1);
    save.price = "x";
    REFUSED(CREDITS_VALIDATION, "price", credits_save_package(ledger, &save, NULL, &error));
    save.price = NULL;
    REFUSED(CREDITS_VALIDATION, "price", credits_save_package(ledger, &save, NULL, &error));
    save.price = "1";
    save.name = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "name", credits_save_package(ledger, &save, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_save_package(ledger, NULL, NULL, &error));
    REFUSED(CREDITS_NOT_FOUND, "package", credits_get_package(ledger, id_of(9), &saved, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "package", credits_get_package(ledger, saved.id, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "count", credits_packages(ledger, packages, 16, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "items", credits_packages(ledger, NULL, 1, &count, &error));
}

static void test_audits_and_figures(void) {
    credits_verification verification;
    credits_sums sums;
    char *text = NULL;
    grant(id_of(1), 100);
    hold(id_of(1), 40);
    OK(credits_verify(ledger, &verification, &text, &error));
    CHECK(verification.faults == 0 && verification.accounts == 1 && verification.entries == 2);
    CHECK(strcmp(text, "[]") == 0);
    credits_string_free(text);
    OK(credits_verify(ledger, &verification, NULL, &error));
    OK(credits_trial_balance(ledger, &sums, &text, &error));
    CHECK(sums.available == 60 && sums.held == 40 && sums.is_balanced == 1);
    CHECK(strstr(text, "\"issued.purchase\":-100") != NULL);
    credits_string_free(text);
    OK(credits_stats(ledger, &text, &error));
    CHECK(strstr(text, "\"operation\":\"consume\"") != NULL);
    credits_string_free(text);
    OK(credits_inspect(ledger, &text, &error));
    CHECK(strstr(text, "\"problems\":[") != NULL);
    credits_string_free(text);
    REFUSED(CREDITS_VALIDATION, "verification", credits_verify(ledger, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "sums", credits_trial_balance(ledger, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "stats", credits_stats(ledger, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "found", credits_inspect(ledger, NULL, &error));
}

/* For this test: openssl genpkey -algorithm ed25519 */
#define ANCHOR_KEY                                                                                                     \
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEILqfQ6F0Ezi604RA2zOIY/YNCV4vzB5zn9Pa+pixOTgC\n"                 \
    "-----END PRIVATE KEY-----\n"
#define ANCHOR_PUBLIC_KEY "9e61e2357566fff43c089b59137548c881955e8a694090fc681d2f57edbe071c"

static void test_anchors(void) {
    credits_verification verification;
    credits_transaction last;
    char *anchor = NULL, *unsigned_anchor = NULL, *proof = NULL, *faults = NULL;
    grant(id_of(1), 100);
    hold(id_of(1), 40);
    OK(credits_anchor(ledger, ANCHOR_KEY, 0, &anchor, &error));
    CHECK(strstr(anchor, "\"number\":1,") != NULL && strstr(anchor, ANCHOR_PUBLIC_KEY) != NULL);
    OK(credits_verify_anchored(ledger, anchor, ANCHOR_PUBLIC_KEY, &verification, &faults, &error));
    CHECK(verification.faults == 0 && verification.accounts == 1);
    CHECK(strcmp(faults, "[]") == 0);
    credits_string_free(faults);
    OK(credits_prove(ledger, id_of(1), anchor, &proof, &error));
    OK(credits_check_proof(anchor, proof, ANCHOR_PUBLIC_KEY, &last, &error));
    CHECK(last.seq == 2 && last.available == 60 && last.held == 40);
    OK(credits_check_proof(anchor, proof, ANCHOR_PUBLIC_KEY, NULL, &error));
    OK(credits_anchor(ledger, NULL, 1, &unsigned_anchor, &error));
    OK(credits_verify_anchored(ledger, unsigned_anchor, NULL, &verification, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "proof", credits_check_proof(unsigned_anchor, proof, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "proof", credits_check_proof(anchor, "{}", ANCHOR_PUBLIC_KEY, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "anchor", credits_check_proof(anchor, proof, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "anchor", credits_check_proof(NULL, proof, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "public_key", credits_check_proof(anchor, proof, "12", NULL, &error));
    REFUSED(CREDITS_VALIDATION, "key", credits_anchor(ledger, "no key", 0, &proof, &error));
    REFUSED(CREDITS_VALIDATION, "anchor", credits_anchor(ledger, NULL, 0, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "verification",
            credits_verify_anchored(ledger, anchor, ANCHOR_PUBLIC_KEY, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "proof", credits_prove(ledger, id_of(1), anchor, NULL, &error));
    REFUSED(CREDITS_NOT_FOUND, "account in this anchor", credits_prove(ledger, id_of(2), anchor, &faults, &error));
    credits_string_free(anchor);
    credits_string_free(unsigned_anchor);
    credits_string_free(proof);
}

static void test_no_ledger(void) {
    credits_uuid user = id_of(1);
    credits_balance balance;
    credits_matured matured;
    credits_package package;
    credits_pending pending;
    credits_quote quote;
    credits_sums sums;
    credits_transaction entry;
    credits_consumption use;
    credits_verification verification;
    credits_outcome outcome;
    credits_usage usage = CREDITS_USAGE_INIT;
    credits_consume_options consume = CREDITS_CONSUME_INIT;
    credits_confirm_options confirm = CREDITS_CONFIRM_INIT;
    credits_refund_options refund = CREDITS_REFUND_INIT;
    credits_grant_options given = CREDITS_GRANT_INIT;
    credits_gift_options gift = CREDITS_GIFT_INIT;
    credits_clawback_options clawback = CREDITS_CLAWBACK_INIT;
    credits_save_package_options save = CREDITS_SAVE_PACKAGE_INIT;
    size_t count;
    char *text;
#define NO(call) REFUSED(CREDITS_VALIDATION, "ledger", call)
    NO(credits_migrate(NULL, &error));
    NO(credits_check(NULL, &error));
    NO(credits_seed_catalog(NULL, &error));
    NO(credits_before_fork(NULL, 0, NULL, &error));
    NO(credits_after_fork(NULL, &error));
    NO(credits_inspect(NULL, &text, &error));
    NO(credits_stats(NULL, &text, &error));
    NO(credits_pending_holds(NULL, &pending, &error));
    NO(credits_get_balance(NULL, user, 0, &balance, &error));
    NO(credits_transactions(NULL, user, NULL, &entry, 1, &count, NULL, &error));
    NO(credits_consumptions(NULL, user, NULL, &use, 1, &count, NULL, &error));
    NO(credits_get_consumption(NULL, user, &use, &error));
    NO(credits_metadata(NULL, user, &text, &error));
    NO(credits_verify(NULL, &verification, NULL, &error));
    NO(credits_anchor(NULL, NULL, 0, &text, &error));
    NO(credits_verify_anchored(NULL, "{}", NULL, &verification, NULL, &error));
    NO(credits_prove(NULL, user, "{}", &text, &error));
    NO(credits_trial_balance(NULL, &sums, NULL, &error));
    NO(credits_calculate(NULL, &usage, &quote, NULL, &error));
    NO(credits_explain(NULL, user, &text, &error));
    NO(credits_packages(NULL, &package, 1, &count, &error));
    NO(credits_get_package(NULL, user, &package, NULL, &error));
    NO(credits_save_package(NULL, &save, NULL, &error));
    NO(credits_pricing(NULL, NULL, &text, &error));
    NO(credits_set_pricing(NULL, "{}", user, 0, 0, NULL, &error));
    NO(credits_consume(NULL, &consume, NULL, &error));
    NO(credits_consume_many(NULL, &consume, 1, &outcome, &error));
    NO(credits_confirm(NULL, &confirm, NULL, &error));
    NO(credits_refund(NULL, &refund, NULL, &error));
    NO(credits_extend(NULL, user, SECOND, NULL, NULL, &error));
    NO(credits_grant(NULL, &given, NULL, &error));
    NO(credits_gift(NULL, &gift, NULL, &error));
    NO(credits_adjust(NULL, &gift, NULL, &error));
    NO(credits_set_credit_limit(NULL, user, 1, NULL, NULL, &error));
    NO(credits_clawback(NULL, &clawback, NULL, &error));
    NO(credits_expire_pending(NULL, 0, &matured, &error));
    NO(credits_expire_lots(NULL, 0, &matured, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_confirm(ledger, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_refund(ledger, NULL, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "metadata", credits_metadata(ledger, user, NULL, &error));
    REFUSED(CREDITS_NOT_FOUND, "consumption", credits_metadata(ledger, user, &text, &error));
    refund.consumption_id = user;
    refund.reason = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "reason", credits_refund(ledger, &refund, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "idempotency_key", credits_extend(ledger, user, SECOND, BAD_UTF8, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "ttl", credits_extend(ledger, user, 0, NULL, NULL, &error));
}

#define THREADS 8
#define ROUNDS 25

static void *work(void *argument) {
    long n = (long)argument;
    int round, spent = 0;
    for (round = 0; round < ROUNDS; round++) {
        credits_consume_options consume = CREDITS_CONSUME_INIT;
        credits_confirm_options confirm = CREDITS_CONFIRM_INIT;
        credits_refund_options refund = CREDITS_REFUND_INIT;
        credits_consumption held;
        credits_balance balance;
        consume.user_id = id_of(1);
        consume.amount = 75;
        if (credits_consume(ledger, &consume, &held, NULL) != CREDITS_OK) continue;
        confirm.consumption_id = refund.consumption_id = held.id;
        if ((n + round) % 4 == 0) {
            if (credits_refund(ledger, &refund, NULL, NULL) != CREDITS_OK) return (void *)-1L;
        } else {
            if (credits_confirm(ledger, &confirm, NULL, NULL) != CREDITS_OK) return (void *)-1L;
            spent += 75;
        }
        if (credits_get_balance(ledger, id_of(1), 0, &balance, NULL) != CREDITS_OK) return (void *)-1L;
    }
    return (void *)(long)spent;
}

static void test_eight_threads_on_one_handle(void) {
    pthread_t threads[THREADS];
    credits_verification verification;
    credits_balance balance;
    long n, spent = 0;
    grant(id_of(1), 5000);
    for (n = 0; n < THREADS; n++) CHECK(pthread_create(&threads[n], NULL, work, (void *)n) == 0);
    for (n = 0; n < THREADS; n++) {
        void *result;
        CHECK(pthread_join(threads[n], &result) == 0);
        CHECK((long)result >= 0);
        spent += (long)result;
    }
    OK(credits_get_balance(ledger, id_of(1), 0, &balance, &error));
    CHECK(balance.spent == spent && balance.held == 0 && balance.available == 5000 - spent && spent <= 5000);
    OK(credits_verify(ledger, &verification, NULL, &error));
    CHECK(verification.faults == 0);
}

static void test_a_fork(void) {
    int ready = 0, said[2];
    char word = 0;
    pid_t child;
    grant(id_of(1), 100);
    OK(credits_before_fork(ledger, SECOND, &ready, &error));
    CHECK(ready == 1);
    CHECK(pipe(said) == 0);
    child = fork();
    if (child == 0) {
        /* Only what a child may do: nothing with the parent's, a ledger of its own. */
        credits_ledger *own = NULL, *parents = ledger;
        credits_balance balance;
        int bad = credits_get_balance(parents, id_of(1), 0, &balance, NULL) != CREDITS_FORKED;
        credits_close(parents);
        own = open_anew();
        bad |= credits_get_balance(own, id_of(1), 0, &balance, NULL) != CREDITS_OK || balance.available != 100;
        credits_close(own);
        /* Not by its exit status, which valgrind has its own idea of: what the parent had is lost to the child. */
        word = bad ? 'b' : 'g';
        _exit(write(said[1], &word, 1) != 1);
    }
    OK(credits_after_fork(ledger, &error));
    CHECK(waitpid(child, NULL, 0) == child);
    close(said[1]);
    CHECK(read(said[0], &word, 1) == 1 && word == 'g');
    close(said[0]);
    CHECK(available(id_of(1)) == 100);
}

/* How many there are: of "fd" descriptors, of "task" threads. */
static int count(const char *path) {
    int n = 0;
    DIR *folder = opendir(path);
    CHECK(folder != NULL);
    while (readdir(folder) != NULL) n++;
    closedir(folder);
    return n;
}

static void test_closing_gives_back(void) {
    credits_settings settings = CREDITS_SETTINGS_INIT;
    int threads = 0, descriptors = 0;
    for (int round = 0; round < 12; round++) {
        const char *urls[] = {"memory:", "sqlite::memory:"};
        credits_ledger *opened = NULL;
        credits_balance balance;
        OK(credits_open(urls[round % 2], &settings, &opened, &error));
        OK(credits_migrate(opened, &error));
        OK(credits_get_balance(opened, id_of(1), 0, &balance, &error));
        credits_close(opened);
        opened = open_anew();
        OK(credits_get_balance(opened, id_of(1), 0, &balance, &error));
        credits_close(opened);
        if (round < 2) {
            /* What is made once for the process. */
            nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
            threads = count("/proc/self/task");
            descriptors = count("/proc/self/fd");
        }
    }
    /* The last ones may still be on their way out. */
    for (int tries = 0; tries < 1000; tries++) {
        if (count("/proc/self/task") <= threads && count("/proc/self/fd") <= descriptors) return;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    CHECK(count("/proc/self/task") <= threads);
    CHECK(count("/proc/self/fd") <= descriptors);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void logger(int32_t level, const char *target, const char *message, void *context) {
    pthread_mutex_lock(&lock);
    if (level >= CREDITS_LOG_ERROR && level <= CREDITS_LOG_DEBUG && strncmp(target, "jointo_credits", 14) == 0 &&
        message[0] != '\0')
        ++*(int *)context;
    pthread_mutex_unlock(&lock);
}

static void test_records_reach_the_logger(void) {
    int records = 0;
    credits_ledger *away = NULL;
    credits_settings settings = CREDITS_SETTINGS_INIT;
    credits_grant_options given = CREDITS_GRANT_INIT;
    credits_set_logger(logger, &records);
    settings.patience = 1;
    /* Its tables are missing: it fails, and says so. */
    OK(credits_open("sqlite::memory:", &settings, &away, &error));
    given.user_id = id_of(1);
    given.amount = 1;
    given.source = CREDITS_SOURCE_GIFT;
    CHECK(credits_grant(away, &given, NULL, NULL) == CREDITS_UNAVAILABLE);
    credits_close(away);
    credits_set_logger(NULL, NULL);
    pthread_mutex_lock(&lock);
    CHECK(records > 0);
    pthread_mutex_unlock(&lock);
}

const struct test LEDGER_TESTS[] = {
#define TEST(name) {#name, test_##name}
    TEST(versions_agree),
    TEST(code_names),
    TEST(nothing_is_freed_and_asked),
    TEST(ids),
    TEST(clocks),
    TEST(what_can_t_be_opened),
    TEST(a_cache),
    TEST(structs_of_other_versions),
    TEST(the_tables_are_missing),
    TEST(the_life_of_a_credit),
    TEST(refusals),
    TEST(a_deadline_passes),
    TEST(lots_expire),
    TEST(grants_adjustments_limits_clawbacks),
    TEST(many_at_once),
    TEST(many_replay_what_was_answered),
    TEST(arrays_of_other_versions),
    TEST(pages),
    TEST(prices),
    TEST(packages),
    TEST(audits_and_figures),
    TEST(anchors),
    TEST(no_ledger),
    TEST(eight_threads_on_one_handle),
    TEST(closing_gives_back),
    TEST(a_fork),
    TEST(records_reach_the_logger),
    {NULL, NULL},
};
