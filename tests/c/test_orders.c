/* Orders, over the channel "manual": what every function about them does, and what it says to NULL, to text that is no
 * UTF-8, to wrong states. */
#include <pthread.h>

#include "check.h"

#define MINUTE (60 * (int64_t)SECOND)

static credits_order settle(const char *order_no, const char *transaction_id) {
    credits_settle_order_options options = CREDITS_SETTLE_ORDER_INIT;
    credits_order settled;
    options.order_no = order_no;
    options.transaction_id = transaction_id;
    options.amount = "9.90";
    OK(credits_settle_order(ledger, &options, &settled, &error));
    return settled;
}

static int64_t entries(credits_uuid user) {
    credits_balance balance;
    OK(credits_get_balance(ledger, user, 0, &balance, &error));
    return balance.seq;
}

static void test_an_order_is_paid_once(void) {
    credits_uuid user = id_of(1), none = {{0}};
    credits_create_order_options create = CREDITS_CREATE_ORDER_INIT;
    credits_pay_order_options pay = CREDITS_PAY_ORDER_INIT;
    credits_settle_order_options again = CREDITS_SETTLE_ORDER_INIT;
    credits_order order, same, paid;
    credits_payment_request request;
    credits_verification verification;
    credits_balance balance;
    char *parameters = NULL;
    int64_t seq;
    create.user_id = user;
    create.package_id = a_package();
    create.channel = "manual";
    create.idempotency_key = "checkout-7";
    OK(credits_create_order(ledger, &create, &order, &error));
    CHECK(order.status == CREDITS_ORDER_CREATED && strlen(order.order_no) == 32 && order.package_version == 1);
    CHECK(memcmp(&order.user_id, &user, sizeof user) == 0);
    CHECK(memcmp(&order.package_id, &create.package_id, sizeof user) == 0);
    CHECK(memcmp(&order.lot_id, &none, sizeof none) == 0 && memcmp(&order.bonus_lot_id, &none, sizeof none) == 0);
    CHECK(strcmp(order.price, "9.90") == 0 && strcmp(order.currency, "CNY") == 0);
    CHECK(strcmp(order.subject, "测试套餐") == 0 && strcmp(order.channel, "manual") == 0);
    CHECK(order.credits == 100 && order.bonus_credits == 10 && order.validity_days == 30);
    CHECK(strcmp(order.refunded, "0.00") == 0 && order.refunds == 0 && order.transaction_id[0] == '\0');
    CHECK(order.created_at == START && order.expires_at == START + 30 * MINUTE);
    CHECK(order.paid_at == 0 && order.closed_at == 0);
    OK(credits_create_order(ledger, &create, &same, &error));
    CHECK(memcmp(&order, &same, sizeof order) == 0);

    pay.order_no = order.order_no;
    OK(credits_pay_order(ledger, &pay, &request, &parameters, &error));
    CHECK(strcmp(request.name, "reference") == 0 && strcmp(request.value, order.order_no) == 0);
    CHECK(request.expires_at == order.expires_at);
    CHECK(strstr(parameters, "{\"reference\":\"") == parameters && strstr(parameters, order.order_no) != NULL);
    credits_string_free(parameters);
    OK(credits_pay_order(ledger, &pay, NULL, NULL, &error));
    OK(credits_get_order(ledger, order.order_no, &same, &error));
    CHECK(same.status == CREDITS_ORDER_PAYING && available(user) == 0);

    again.order_no = order.order_no;
    again.transaction_id = "transfer 7";
    again.amount = order.price;
    again.currency = order.currency;
    again.paid_at = START - SECOND;
    OK(credits_settle_order(ledger, &again, &paid, &error));
    CHECK(paid.status == CREDITS_ORDER_PAID && paid.paid_at == START - SECOND);
    CHECK(strcmp(paid.transaction_id, "transfer 7") == 0);
    CHECK(memcmp(&paid.lot_id, &none, sizeof none) != 0 && memcmp(&paid.bonus_lot_id, &none, sizeof none) != 0);
    OK(credits_get_balance(ledger, user, 0, &balance, &error));
    CHECK(balance.available == 110 && balance.next_expires_at == START + 30 * 24 * 60 * MINUTE);
    seq = entries(user);
    same = settle(order.order_no, "transfer 7");
    CHECK(memcmp(&paid, &same, sizeof paid) == 0);
    CHECK(available(user) == 110 && entries(user) == seq);

    again.transaction_id = "transfer 8";
    REFUSED(CREDITS_PAYMENT_VERIFICATION, order.order_no, credits_settle_order(ledger, &again, NULL, &error));
    again.transaction_id = "transfer 7";
    again.amount = "9.89";
    REFUSED(CREDITS_PAYMENT_VERIFICATION, "another amount", credits_settle_order(ledger, &again, NULL, &error));
    again.amount = "9.90";
    again.currency = "USD";
    REFUSED(CREDITS_PAYMENT_VERIFICATION, "USD", credits_settle_order(ledger, &again, NULL, &error));
    REFUSED(CREDITS_INVALID_STATE, "\"state\":\"paid\"", credits_pay_order(ledger, &pay, NULL, NULL, &error));
    REFUSED(CREDITS_INVALID_STATE, order.order_no, credits_close_order(ledger, order.order_no, NULL, &error));
    create.channel = "cash";
    REFUSED(CREDITS_VALIDATION, "channel", credits_create_order(ledger, &create, &same, &error));
    OK(credits_verify(ledger, &verification, NULL, &error));
    CHECK(verification.orders == 1 && verification.faults == 0);
}

static void test_money_goes_back(void) {
    credits_uuid user = id_of(1);
    credits_order order = an_order(user, a_package(), "manual"), done, same;
    credits_refund_order_options refund = CREDITS_REFUND_ORDER_INIT;
    credits_consume_options consume = CREDITS_CONSUME_INIT;
    credits_confirm_options confirm = CREDITS_CONFIRM_INIT;
    credits_consumption held;
    credits_order_refund refunds[2];
    credits_verification verification;
    credits_balance balance;
    size_t count = 9;
    refund.order_no = order.order_no;
    refund.amount = "4.95";
    refund.reason = "half of it";
    refund.operator_name = "李";
    refund.idempotency_key = "refund-1";
    REFUSED(CREDITS_INVALID_STATE, "created", credits_refund_order(ledger, &refund, NULL, &error));
    settle(order.order_no, "transfer 7");
    OK(credits_order_refunds(ledger, order.order_no, NULL, 0, &count, &error));
    CHECK(count == 0);
    OK(credits_refund_order(ledger, &refund, &done, &error));
    CHECK(done.status == CREDITS_ORDER_PARTIALLY_REFUNDED && strcmp(done.refunded, "4.95") == 0 && done.refunds == 1);
    CHECK(available(user) == 55);
    OK(credits_refund_order(ledger, &refund, &same, &error));
    CHECK(same.refunds == 1 && available(user) == 55);
    refund.amount = "4.96";
    REFUSED(CREDITS_IDEMPOTENCY_CONFLICT, "{", credits_refund_order(ledger, &refund, NULL, &error));
    refund.idempotency_key = NULL;
    REFUSED(CREDITS_INVALID_STATE, "partially_refunded", credits_refund_order(ledger, &refund, NULL, &error));
    refund.idempotency_key = "refund-2";
    REFUSED(CREDITS_VALIDATION, "amount", credits_refund_order(ledger, &refund, NULL, &error));

    consume.user_id = user;
    consume.amount = 50;
    OK(credits_consume(ledger, &consume, &held, &error));
    confirm.consumption_id = held.id;
    OK(credits_confirm(ledger, &confirm, NULL, &error));
    refund.amount = NULL;
    refund.reason = refund.operator_name = NULL;
    refund.shortfall = CREDITS_SHORTFALL_DEBT;
    OK(credits_refund_order(ledger, &refund, &done, &error));
    CHECK(done.status == CREDITS_ORDER_REFUNDED && strcmp(done.refunded, "9.90") == 0 && done.refunds == 2);
    OK(credits_get_balance(ledger, user, 0, &balance, &error));
    CHECK(balance.available == -50 && balance.debt == 50);
    OK(credits_order_refunds(ledger, order.order_no, refunds, 1, &count, &error));
    CHECK(count == 2 && refunds[0].taken == 55 && refunds[0].shortfall == 0);
    CHECK(refunds[0].status == CREDITS_ORDER_REFUND_SUCCEEDED && strcmp(refunds[0].amount, "4.95") == 0);
    CHECK(strcmp(refunds[0].reason, "half of it") == 0 && strcmp(refunds[0].operator_name, "李") == 0);
    CHECK(strncmp(refunds[0].refund_no, order.order_no, 32) == 0 && strcmp(refunds[0].refund_no + 32, "R1") == 0);
    CHECK(refunds[0].created_at == START && refunds[0].settled_at == START);
    CHECK(refunds[0].channel_id[0] == '\0' && refunds[0].problem[0] == '\0');
    OK(credits_order_refunds(ledger, order.order_no, refunds, 2, &count, &error));
    CHECK(count == 2 && refunds[1].taken == 5 && refunds[1].shortfall == 50 && refunds[1].reason[0] == '\0');
    OK(credits_verify(ledger, &verification, NULL, &error));
    CHECK(verification.orders == 1 && verification.faults == 0);
}

static void test_orders_are_closed(void) {
    credits_uuid user = id_of(1), package = a_package();
    credits_order order = an_order(user, package, "manual"), closed, same;
    credits_pay_order_options pay = CREDITS_PAY_ORDER_INIT;
    credits_refund_order_options refund = CREDITS_REFUND_ORDER_INIT;
    credits_reconciled done;
    credits_settings settings = CREDITS_SETTINGS_INIT;
    pay.order_no = refund.order_no = order.order_no;
    OK(credits_clock_advance(the_clock, SECOND, &error));
    OK(credits_close_order(ledger, order.order_no, &closed, &error));
    CHECK(closed.status == CREDITS_ORDER_CLOSED && closed.closed_at == START + SECOND);
    OK(credits_close_order(ledger, order.order_no, &same, &error));
    CHECK(memcmp(&closed, &same, sizeof closed) == 0);
    REFUSED(CREDITS_INVALID_STATE, "\"state\":\"closed\"", credits_pay_order(ledger, &pay, NULL, NULL, &error));
    REFUSED(CREDITS_INVALID_STATE, "\"state\":\"closed\"", credits_refund_order(ledger, &refund, NULL, &error));
    /* Money is money. */
    CHECK(settle(order.order_no, "late").status == CREDITS_ORDER_PAID && available(user) == 110);

    credits_close(ledger);
    ledger = NULL;
    settings.late_payment = CREDITS_LATE_PAYMENT_REFUND;
    settings.order_ttl = 2 * MINUTE;
    ledger = open_with(settings);
    order = an_order(user, package, "manual");
    CHECK(order.expires_at == order.created_at + 2 * MINUTE);
    OK(credits_close_order(ledger, order.order_no, NULL, &error));
    CHECK(settle(order.order_no, "late, too").status == CREDITS_ORDER_REFUNDING && available(user) == 110);
    /* The money is back when somebody has sent it, and says so. */
    OK(credits_reconcile_orders(ledger, 0, &done, NULL, &error));
    CHECK(done.orders == 1 && done.refunds == 0 && done.failed == 0);
    OK(credits_get_order(ledger, order.order_no, &same, &error));
    CHECK(same.status == CREDITS_ORDER_REFUNDING && available(user) == 110);
    refund.order_no = order.order_no;
    OK(credits_refund_order(ledger, &refund, &same, &error));
    CHECK(same.status == CREDITS_ORDER_REFUNDED && available(user) == 110);
}

static void test_open_orders_are_few_and_payments_are_claimed(void) {
    credits_uuid user = id_of(1), package;
    credits_create_order_options create = CREDITS_CREATE_ORDER_INIT;
    credits_settle_order_options again = CREDITS_SETTLE_ORDER_INIT;
    credits_settings settings = CREDITS_SETTINGS_INIT;
    credits_order first, second, third;
    credits_close(ledger);
    ledger = NULL;
    settings.max_open_orders = 2;
    ledger = open_with(settings);
    package = a_package();
    first = an_order(user, package, "manual");
    second = an_order(user, package, "manual");
    create.user_id = user;
    create.package_id = package;
    create.channel = "manual";
    REFUSED(CREDITS_INVALID_STATE, "\"open_orders\":2", credits_create_order(ledger, &create, &third, &error));
    settle(first.order_no, "transfer 7");
    again.order_no = second.order_no;
    again.transaction_id = "transfer 7";
    again.amount = "9.90";
    REFUSED(CREDITS_PAYMENT_VERIFICATION, first.order_no, credits_settle_order(ledger, &again, NULL, &error));
    OK(credits_create_order(ledger, &create, &third, &error));
}

static void test_orders_are_reconciled(void) {
    credits_uuid user = id_of(1), package = a_package();
    credits_order created = an_order(user, package, "manual"), paying = an_order(user, package, "manual"), order;
    credits_pay_order_options pay = CREDITS_PAY_ORDER_INIT;
    credits_reconciled done;
    char *problems = NULL;
    pay.order_no = paying.order_no;
    OK(credits_pay_order(ledger, &pay, NULL, NULL, &error));
    OK(credits_reconcile_orders(ledger, MINUTE, &done, &problems, &error));
    CHECK(done.orders == 0 && strcmp(problems, "[]") == 0);
    credits_string_free(problems);
    OK(credits_reconcile_orders(ledger, 0, &done, NULL, &error));
    CHECK(done.orders == 2 && done.settled == 0 && done.closed == 0 && done.failed == 0);
    OK(credits_clock_advance(the_clock, 30 * MINUTE, &error));
    REFUSED(CREDITS_INVALID_STATE, "paying", credits_pay_order(ledger, &pay, NULL, NULL, &error));
    OK(credits_reconcile_orders(ledger, MINUTE, NULL, NULL, &error));
    OK(credits_get_order(ledger, created.order_no, &order, &error));
    CHECK(order.status == CREDITS_ORDER_CLOSED);
    OK(credits_get_order(ledger, paying.order_no, &order, &error));
    CHECK(order.status == CREDITS_ORDER_CLOSED);
    REFUSED(CREDITS_VALIDATION, "min_age", credits_reconcile_orders(ledger, -1, &done, NULL, &error));
}

static void test_pages_of_orders(void) {
    credits_uuid everybody = {{0}}, package = a_package();
    credits_order made[5], page[3];
    credits_page_options options = CREDITS_PAGE_INIT;
    char next[CREDITS_CURSOR_TEXT];
    size_t count = 0;
    int n;
    for (n = 0; n < 5; n++) {
        /* By another millisecond's number: orders of one millisecond are in no order. */
        OK(credits_clock_advance(the_clock, SECOND, &error));
        made[n] = an_order(id_of(n == 4 ? 2 : 1), package, "manual");
    }
    OK(credits_orders(ledger, everybody, NULL, page, 3, &count, next, &error));
    CHECK(count == 3 && strcmp(page[0].order_no, made[4].order_no) == 0 && next[0] != '\0');
    options.cursor = next;
    OK(credits_orders(ledger, everybody, &options, page, 3, &count, next, &error));
    CHECK(count == 2 && strcmp(page[1].order_no, made[0].order_no) == 0 && next[0] == '\0');
    options.cursor = "";
    OK(credits_orders(ledger, id_of(2), &options, page, 3, &count, NULL, &error));
    CHECK(count == 1 && memcmp(&page[0], &made[4], sizeof page[0]) == 0);
    OK(credits_close_order(ledger, made[2].order_no, NULL, &error));
    options.status = CREDITS_ORDER_CLOSED;
    OK(credits_orders(ledger, id_of(1), &options, page, 3, &count, NULL, &error));
    CHECK(count == 1 && strcmp(page[0].order_no, made[2].order_no) == 0);
    OK(credits_orders(ledger, id_of(2), &options, page, 3, &count, NULL, &error));
    CHECK(count == 0);

    count = 77;
    options.status = 8;
    REFUSED(CREDITS_VALIDATION, "status", credits_orders(ledger, everybody, &options, page, 3, &count, NULL, &error));
    options.status = 0;
    options.kind = CREDITS_KIND_ORDER;
    REFUSED(CREDITS_VALIDATION, "kind", credits_orders(ledger, everybody, &options, page, 3, &count, NULL, &error));
    options.kind = 0;
    options.since = START;
    REFUSED(CREDITS_VALIDATION, "kind", credits_orders(ledger, everybody, &options, page, 3, &count, NULL, &error));
    options.since = 0;
    options.cursor = "nonsense";
    REFUSED(CREDITS_VALIDATION, "cursor", credits_orders(ledger, everybody, &options, page, 3, &count, NULL, &error));
    options.cursor = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "cursor", credits_orders(ledger, everybody, &options, page, 3, &count, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "limit", credits_orders(ledger, everybody, NULL, page, 0, &count, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "limit", credits_orders(ledger, everybody, NULL, page, 1001, &count, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "items", credits_orders(ledger, everybody, NULL, NULL, 3, &count, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "count", credits_orders(ledger, everybody, NULL, page, 3, NULL, NULL, &error));
    CHECK(count == 77);
}

static void test_what_orders_refuse(void) {
    credits_uuid user = id_of(1), package = a_package(), none = {{0}};
    credits_create_order_options create = CREDITS_CREATE_ORDER_INIT;
    credits_pay_order_options pay = CREDITS_PAY_ORDER_INIT;
    credits_settle_order_options settling = CREDITS_SETTLE_ORDER_INIT;
    credits_refund_order_options refund = CREDITS_REFUND_ORDER_INIT;
    credits_order order, place, untouched;
    credits_payment_request request;
    credits_order_refund refunds[1];
    credits_package packages[16];
    credits_save_package_options save = CREDITS_SAVE_PACKAGE_INIT;
    size_t count = 77;
    char *text = NULL;
    const char *unknown = "019a9f2e8c4d7b3aa1b2c3d4e5f60718";
    memset(&untouched, 0x5a, sizeof untouched);
    place = untouched;

    create.user_id = user;
    create.package_id = package;
    REFUSED(CREDITS_VALIDATION, "channel", credits_create_order(ledger, &create, &place, &error));
    create.channel = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "channel", credits_create_order(ledger, &create, &place, &error));
    create.channel = "wechat"; /* which this ledger was not opened with */
    REFUSED(CREDITS_VALIDATION, "channel", credits_create_order(ledger, &create, &place, &error));
    create.channel = "manual";
    create.idempotency_key = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "idempotency_key", credits_create_order(ledger, &create, &place, &error));
    create.idempotency_key = NULL;
    create.user_id = none;
    REFUSED(CREDITS_VALIDATION, "user_id", credits_create_order(ledger, &create, &place, &error));
    create.user_id = user;
    create.package_id = none;
    REFUSED(CREDITS_VALIDATION, "package_id", credits_create_order(ledger, &create, &place, &error));
    create.package_id = user;
    REFUSED(CREDITS_NOT_FOUND, "package", credits_create_order(ledger, &create, &place, &error));
    create.package_id = package;
    REFUSED(CREDITS_VALIDATION, "order", credits_create_order(ledger, &create, NULL, &error));
    REFUSED(CREDITS_VALIDATION, "options", credits_create_order(ledger, NULL, &place, &error));
    create.size = 0;
    REFUSED(CREDITS_VALIDATION, "size", credits_create_order(ledger, &create, &place, &error));
    OK(credits_packages(ledger, packages, 16, &count, &error));
    save.package_id = package;
    save.name = "old";
    save.price = "1";
    save.credits = 1;
    save.inactive = 1;
    order = an_order(user, package, "manual");
    OK(credits_save_package(ledger, &save, NULL, &error));
    create.size = sizeof create;
    REFUSED(CREDITS_VALIDATION, "not for sale", credits_create_order(ledger, &create, &place, &error));

    REFUSED(CREDITS_VALIDATION, "order_no", credits_get_order(ledger, NULL, &place, &error));
    REFUSED(CREDITS_VALIDATION, "order_no", credits_get_order(ledger, "7", &place, &error));
    REFUSED(CREDITS_VALIDATION, "order_no", credits_get_order(ledger, BAD_UTF8, &place, &error));
    REFUSED(CREDITS_VALIDATION, "order", credits_get_order(ledger, order.order_no, NULL, &error));
    REFUSED(CREDITS_NOT_FOUND, unknown, credits_get_order(ledger, unknown, &place, &error));
    count = 77;
    REFUSED(CREDITS_VALIDATION, "order_no", credits_order_refunds(ledger, NULL, refunds, 1, &count, &error));
    REFUSED(CREDITS_VALIDATION, "order_no", credits_order_refunds(ledger, BAD_UTF8, refunds, 1, &count, &error));
    REFUSED(CREDITS_VALIDATION, "items", credits_order_refunds(ledger, order.order_no, NULL, 1, &count, &error));
    REFUSED(CREDITS_VALIDATION, "count", credits_order_refunds(ledger, order.order_no, refunds, 1, NULL, &error));
    REFUSED(CREDITS_NOT_FOUND, unknown, credits_order_refunds(ledger, unknown, refunds, 1, &count, &error));
    CHECK(count == 77);

    memset(&request, 0x5a, sizeof request);
    REFUSED(CREDITS_VALIDATION, "options", credits_pay_order(ledger, NULL, &request, &text, &error));
    REFUSED(CREDITS_VALIDATION, "order_no", credits_pay_order(ledger, &pay, &request, &text, &error));
    pay.order_no = unknown;
    REFUSED(CREDITS_NOT_FOUND, unknown, credits_pay_order(ledger, &pay, &request, &text, &error));
    pay.order_no = order.order_no;
    pay.method = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "method", credits_pay_order(ledger, &pay, &request, &text, &error));
    pay.method = NULL;
    pay.payer = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "payer", credits_pay_order(ledger, &pay, &request, &text, &error));
    pay.payer = NULL;
    pay.payer_ip = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "payer_ip", credits_pay_order(ledger, &pay, &request, &text, &error));
    pay.payer_ip = NULL;
    pay.return_url = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "return_url", credits_pay_order(ledger, &pay, &request, &text, &error));
    CHECK(text == NULL && request.name[0] == 0x5a && request.value[0] == 0x5a);

    REFUSED(CREDITS_VALIDATION, "options", credits_settle_order(ledger, NULL, &place, &error));
    REFUSED(CREDITS_VALIDATION, "order_no", credits_settle_order(ledger, &settling, &place, &error));
    settling.order_no = unknown;
    REFUSED(CREDITS_VALIDATION, "amount", credits_settle_order(ledger, &settling, &place, &error));
    settling.amount = "much";
    REFUSED(CREDITS_VALIDATION, "amount", credits_settle_order(ledger, &settling, &place, &error));
    settling.amount = "9.905";
    settling.transaction_id = "x";
    REFUSED(CREDITS_VALIDATION, "amount", credits_settle_order(ledger, &settling, &place, &error));
    settling.amount = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "amount", credits_settle_order(ledger, &settling, &place, &error));
    settling.amount = "9.90";
    REFUSED(CREDITS_NOT_FOUND, unknown, credits_settle_order(ledger, &settling, &place, &error));
    settling.order_no = order.order_no;
    settling.transaction_id = NULL;
    REFUSED(CREDITS_VALIDATION, "transaction_id", credits_settle_order(ledger, &settling, &place, &error));
    settling.transaction_id = "";
    REFUSED(CREDITS_VALIDATION, "transaction_id", credits_settle_order(ledger, &settling, &place, &error));
    settling.transaction_id = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "transaction_id", credits_settle_order(ledger, &settling, &place, &error));
    settling.transaction_id = "x";
    settling.currency = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "currency", credits_settle_order(ledger, &settling, &place, &error));

    REFUSED(CREDITS_VALIDATION, "order_no", credits_close_order(ledger, NULL, &place, &error));
    REFUSED(CREDITS_VALIDATION, "order_no", credits_close_order(ledger, BAD_UTF8, &place, &error));
    REFUSED(CREDITS_NOT_FOUND, unknown, credits_close_order(ledger, unknown, &place, &error));

    REFUSED(CREDITS_VALIDATION, "options", credits_refund_order(ledger, NULL, &place, &error));
    REFUSED(CREDITS_VALIDATION, "order_no", credits_refund_order(ledger, &refund, &place, &error));
    refund.order_no = unknown;
    REFUSED(CREDITS_NOT_FOUND, unknown, credits_refund_order(ledger, &refund, &place, &error));
    refund.order_no = order.order_no;
    refund.amount = "-1";
    REFUSED(CREDITS_VALIDATION, "amount", credits_refund_order(ledger, &refund, &place, &error));
    refund.amount = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "amount", credits_refund_order(ledger, &refund, &place, &error));
    refund.amount = NULL;
    refund.shortfall = 2;
    REFUSED(CREDITS_VALIDATION, "shortfall", credits_refund_order(ledger, &refund, &place, &error));
    refund.shortfall = CREDITS_SHORTFALL_FORGIVE;
    refund.reason = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "reason", credits_refund_order(ledger, &refund, &place, &error));
    refund.reason = NULL;
    refund.operator_name = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "operator_name", credits_refund_order(ledger, &refund, &place, &error));
    refund.operator_name = NULL;
    refund.idempotency_key = BAD_UTF8;
    REFUSED(CREDITS_VALIDATION, "idempotency_key", credits_refund_order(ledger, &refund, &place, &error));

    CHECK(memcmp(&place, &untouched, sizeof place) == 0);
    OK(credits_get_order(ledger, order.order_no, &place, &error));
    CHECK(memcmp(&place, &order, sizeof place) == 0);
}

static void test_nobody_notifies_of_manual_payments(void) {
    credits_header header = {"X-Any", "thing"};
    credits_notification notification, untouched;
    credits_statement_report report;
    credits_reply reply;
    char *text = NULL;
    memset(&untouched, 0x5a, sizeof untouched);
    notification = untouched;
#define TOLD(expected, fact, channel, headers, count, body, length) \
    REFUSED(expected, fact,                                         \
            credits_handle_notification(ledger, channel, headers, count, body, length, &notification, &error))
    TOLD(CREDITS_PAYMENT_VERIFICATION, "\"channel\":\"manual\"", "manual", &header, 1, "paid!", 5);
    TOLD(CREDITS_PAYMENT_VERIFICATION, "settle_order", "manual", NULL, 0, NULL, 0);
    TOLD(CREDITS_VALIDATION, "channel", "cash", &header, 1, "paid!", 5);
    TOLD(CREDITS_VALIDATION, "channel", NULL, &header, 1, "paid!", 5);
    TOLD(CREDITS_VALIDATION, "channel", BAD_UTF8, &header, 1, "paid!", 5);
    TOLD(CREDITS_VALIDATION, "headers", "manual", NULL, 1, "paid!", 5);
    TOLD(CREDITS_VALIDATION, "body", "manual", &header, 1, NULL, 5);
    header.value = BAD_UTF8;
    TOLD(CREDITS_VALIDATION, "headers", "manual", &header, 1, "paid!", 5);
    header.value = NULL;
    TOLD(CREDITS_VALIDATION, "headers", "manual", &header, 1, "paid!", 5);
    header.value = "thing";
    header.name = BAD_UTF8;
    TOLD(CREDITS_VALIDATION, "headers", "manual", &header, 1, "paid!", 5);
    CHECK(memcmp(&notification, &untouched, sizeof untouched) == 0);

    OK(credits_notification_reply(ledger, "manual", 1, &reply, &error));
    CHECK(reply.status == 200 && strcmp(reply.content_type, "text/plain") == 0 && reply.body[0] == '\0');
    OK(credits_notification_reply(ledger, "manual", 0, &reply, &error));
    CHECK(reply.status == 400);
    REFUSED(CREDITS_VALIDATION, "channel", credits_notification_reply(ledger, "cash", 1, &reply, &error));
    REFUSED(CREDITS_VALIDATION, "channel", credits_notification_reply(ledger, NULL, 1, &reply, &error));
    REFUSED(CREDITS_VALIDATION, "channel", credits_notification_reply(ledger, BAD_UTF8, 1, &reply, &error));
    REFUSED(CREDITS_VALIDATION, "reply", credits_notification_reply(ledger, "manual", 1, NULL, &error));

#define BILL(fact, channel, bill, length, since, until) \
    REFUSED(CREDITS_VALIDATION, fact,                   \
            credits_reconcile_statement(ledger, channel, bill, length, since, until, &report, &text, &error))
    BILL("\"field\":\"bill\"", "manual", "x", 1, START, START + 1);
    BILL("\"field\":\"bill\"", "manual", NULL, 1, START, START + 1);
    BILL("since", "manual", "x", 1, 0, START + 1);
    BILL("until", "manual", "x", 1, START, 0);
    BILL("channel", "cash", "x", 1, START, START + 1);
    BILL("channel", NULL, "x", 1, START, START + 1);
    BILL("channel", BAD_UTF8, "x", 1, START, START + 1);
    CHECK(text == NULL);
}

static void test_no_ledger_for_orders(void) {
    credits_create_order_options create = CREDITS_CREATE_ORDER_INIT;
    credits_pay_order_options pay = CREDITS_PAY_ORDER_INIT;
    credits_settle_order_options settling = CREDITS_SETTLE_ORDER_INIT;
    credits_refund_order_options refund = CREDITS_REFUND_ORDER_INIT;
    credits_order order;
    credits_order_refund given_back;
    credits_reply reply;
    size_t count;
#define NO(call) REFUSED(CREDITS_VALIDATION, "ledger", call)
    NO(credits_create_order(NULL, &create, &order, &error));
    NO(credits_pay_order(NULL, &pay, NULL, NULL, &error));
    NO(credits_get_order(NULL, "", &order, &error));
    NO(credits_order_refunds(NULL, "", &given_back, 1, &count, &error));
    NO(credits_orders(NULL, id_of(1), NULL, &order, 1, &count, NULL, &error));
    NO(credits_handle_notification(NULL, "manual", NULL, 0, NULL, 0, NULL, &error));
    NO(credits_notification_reply(NULL, "manual", 1, &reply, &error));
    NO(credits_settle_order(NULL, &settling, NULL, &error));
    NO(credits_close_order(NULL, "", NULL, &error));
    NO(credits_refund_order(NULL, &refund, NULL, &error));
    NO(credits_reconcile_orders(NULL, 0, NULL, NULL, &error));
    NO(credits_reconcile_statement(NULL, "manual", NULL, 0, 1, 2, NULL, NULL, &error));
    CHECK(credits_create_order(NULL, NULL, NULL, NULL) == CREDITS_VALIDATION);
}

#define THREADS 8

static void *pays(void *order_no) {
    credits_settle_order_options options = CREDITS_SETTLE_ORDER_INIT;
    credits_order settled;
    options.order_no = order_no;
    options.transaction_id = "transfer 7";
    options.amount = "9.90";
    if (credits_settle_order(ledger, &options, &settled, NULL) != CREDITS_OK) return NULL;
    return settled.status == CREDITS_ORDER_PAID ? order_no : NULL;
}

static void test_eight_threads_settle_one_order(void) {
    credits_order order = an_order(id_of(1), a_package(), "manual");
    pthread_t threads[THREADS];
    int n, good = 0;
    for (n = 0; n < THREADS; n++) CHECK(pthread_create(&threads[n], NULL, pays, order.order_no) == 0);
    for (n = 0; n < THREADS; n++) {
        void *result;
        CHECK(pthread_join(threads[n], &result) == 0);
        good += result != NULL;
    }
    CHECK(good == THREADS && available(id_of(1)) == 110 && entries(id_of(1)) == 3);
}

const struct test ORDER_TESTS[] = {
#define TEST(name) {#name, test_##name}
    TEST(an_order_is_paid_once),
    TEST(money_goes_back),
    TEST(orders_are_closed),
    TEST(open_orders_are_few_and_payments_are_claimed),
    TEST(orders_are_reconciled),
    TEST(pages_of_orders),
    TEST(what_orders_refuse),
    TEST(nobody_notifies_of_manual_payments),
    TEST(no_ledger_for_orders),
    TEST(eight_threads_settle_one_order),
    {NULL, NULL},
};
