/* A package is bought, paid and half of it given back; and how a payment channel's notification is answered.
 *
 *     cc recharge.c $(pkg-config --cflags --libs credits) -o recharge && ./recharge
 *
 * It goes through the channel "manual", where people see to the money. docs/c.md shows how WeChat Pay and Alipay are
 * configured; nothing else changes.
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

static int64_t available(credits_ledger *ledger, credits_uuid user) {
    credits_error *error = NULL;
    credits_balance balance;
    must(credits_get_balance(ledger, user, 0, &balance, &error), &error);
    return balance.available;
}

/* What a web server does with a POST to the URL that a channel was told: settle what was paid, and answer. */
static credits_reply on_notification(credits_ledger *ledger, const char *channel, const credits_header *headers,
                                     size_t headers_count, const void *body, size_t body_length) {
    credits_error *error = NULL;
    credits_reply reply;
    credits_code code =
        credits_handle_notification(ledger, channel, headers, headers_count, body, body_length, NULL, &error);
    if (code != CREDITS_OK) {
        printf("not taken: %s\n", credits_error_message(error));
        credits_error_free(error);
        error = NULL;
    }
    must(credits_notification_reply(ledger, channel, code == CREDITS_OK, &reply, &error), &error);
    return reply;
}

int main(int count, char **arguments) {
    static const credits_header HEADERS[] = {{"Content-Type", "text/plain"}};
    credits_ledger *ledger = NULL;
    credits_error *error = NULL;
    credits_uuid user;
    credits_package package;
    credits_order order;
    credits_payment_request request;
    credits_reconciled done;
    credits_create_order_options create = CREDITS_CREATE_ORDER_INIT;
    credits_pay_order_options pay = CREDITS_PAY_ORDER_INIT;
    credits_settle_order_options settle = CREDITS_SETTLE_ORDER_INIT;
    credits_refund_order_options refund = CREDITS_REFUND_ORDER_INIT;
    size_t packages = 0;

    must(credits_open(count > 1 ? arguments[1] : "sqlite::memory:", NULL, &ledger, &error), &error);
    must(credits_migrate(ledger, &error), &error);
    must(credits_seed_catalog(ledger, &error), &error);
    must(credits_uuid_parse("0191d8f0-0000-7000-8000-000000000001", &user, &error), &error);
    must(credits_packages(ledger, &package, 1, &packages, &error), &error);
    printf("%s: %s %s for %" PRId64 " credits\n", package.name, package.price, package.currency,
           package.credits + package.bonus_credits);

    create.user_id = user;
    create.package_id = package.id;
    create.channel = "manual";
    create.idempotency_key = "checkout-7"; /* one order, however often somebody clicks */
    must(credits_create_order(ledger, &create, &order, &error), &error);
    pay.order_no = order.order_no;
    must(credits_pay_order(ledger, &pay, &request, NULL, &error), &error); /* of WeChat Pay: a code_url, for a QR code */
    printf("the payer gets a %s\n", request.name);

    settle.order_no = order.order_no; /* with another channel, its notification does this */
    settle.transaction_id = "bank transfer 2026-01-01/7";
    settle.amount = order.price;
    must(credits_settle_order(ledger, &settle, &order, &error), &error);
    must(credits_settle_order(ledger, &settle, &order, &error), &error); /* seen twice, granted once */
    printf("paid: %" PRId64 " available\n", available(ledger, user));

    printf("HTTP %d\n", (int)on_notification(ledger, "manual", HEADERS, 1, "paid!", 5).status);

    refund.order_no = order.order_no;
    refund.amount = "4.95";
    refund.reason = "half of it was not needed";
    refund.idempotency_key = "refund-7";
    must(credits_refund_order(ledger, &refund, &order, &error), &error);
    printf("%s %s went back: %" PRId64 " available\n", order.refunded, order.currency, available(ledger, user));

    must(credits_reconcile_orders(ledger, 60 * (int64_t)1000000, &done, NULL, &error), &error); /* every few minutes */
    printf("%" PRIu64 " orders wait for their channel\n", done.orders);
    credits_close(ledger);
    return 0;
}
