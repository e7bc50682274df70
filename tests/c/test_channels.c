/* The channels "wechat" and "alipay", with keys that live as long as a test. openssl signs what Alipay would say; a stand-in on
 * loopback answers for it. What WeChat Pay would send was made for the library's own tests (wechat/tests/other.json). */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

#define MINUTE (60 * (int64_t)SECOND)
#define ROOM 8192

/* --- keys, and what is signed with them */

static char folder[64];
static struct keys {
    char app[ROOM], alipay_public[ROOM], app_certificate[ROOM], alipay_certificate[ROOM], root_certificate[ROOM];
} keys;

/* Whether a command of the shell succeeds; what it prints. `%s` is the folder of the keys. */
static int shell(char *printed, size_t room, const char *format, ...) {
    char command[1024];
    va_list arguments;
    FILE *pipe;
    size_t length;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    pipe = popen(command, "r");
    if (pipe == NULL) return 0;
    length = fread(printed, 1, room - 1, pipe);
    printed[length] = '\0';
    return pclose(pipe) == 0 && length < room - 1;
}

static void make_keys(void) {
    char nothing[2];
    const char *temporary = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/credits-XXXXXX", temporary != NULL ? temporary : "/tmp");
    CHECK(mkdtemp(folder) != NULL);
    CHECK(shell(nothing, sizeof nothing,
                "cd '%s' && for who in app alipay root; do openssl genrsa -out $who.key 2048 2>openssl.log &&"
                " openssl req -x509 -new -key $who.key -subj /C=CN/CN=$who -days 2 -out $who.crt || exit 1; done &&"
                " openssl rsa -in alipay.key -pubout -out alipay.pub 2>openssl.log",
                folder));
#define READ(file, into) CHECK(shell(into, sizeof into, "cat '%s/" file "'", folder))
    READ("app.key", keys.app);
    READ("alipay.pub", keys.alipay_public);
    READ("app.crt", keys.app_certificate);
    READ("alipay.crt", keys.alipay_certificate);
    READ("root.crt", keys.root_certificate);
}

static void drop_keys(void) {
    char nothing[2];
    CHECK(shell(nothing, sizeof nothing, "rm -rf '%s'", folder));
}

/* What Alipay signs, in base64. */
static int sign(const char *text, char *signature, size_t room) {
    char path[128];
    FILE *file;
    snprintf(path, sizeof path, "%s/signed", folder);
    file = fopen(path, "w");
    if (file == NULL || fputs(text, file) == EOF || fclose(file) != 0) return 0;
    return shell(signature, room, "cd '%s' && openssl dgst -sha256 -sign alipay.key signed | openssl base64 -A", folder);
}

/* --- Alipay */

#define APP "2021000000000000"
#define SELLER "2088000000000000"

static credits_alipay_options alipay_options(void) {
    credits_alipay_options alipay = CREDITS_ALIPAY_INIT;
    alipay.app_id = APP;
    alipay.app_private_key = keys.app;
    alipay.alipay_public_key = keys.alipay_public;
    alipay.seller_id = SELLER;
    alipay.notify_url = "https://shop.example/notify/alipay";
    return alipay;
}

static void open_shop(const credits_wechat_options *wechat, const credits_alipay_options *alipay) {
    credits_settings settings = CREDITS_SETTINGS_INIT;
    settings.wechat = wechat;
    settings.alipay = alipay;
    credits_close(ledger);
    ledger = NULL;
    ledger = open_with(settings);
}

/* A notification of Alipay's about an order. */
static void notice(char *body, size_t room, const char *order_no, const char *amount, const char *status) {
    char text[1024], signature[512];
    size_t length;
    const char *at;
    snprintf(text, sizeof text,
             "app_id=" APP "&charset=utf-8&gmt_payment=2026-01-01 08:00:00&notify_type=trade_status_sync&out_trade_no=%s"
             "&seller_id=" SELLER "&total_amount=%s&trade_no=2026%s&trade_status=%s",
             order_no, amount, order_no, status);
    CHECK(sign(text, signature, sizeof signature));
    length = (size_t)snprintf(body, room, "%s&sign_type=RSA2&sign=", text);
    *strchr(body, ' ') = '+';
    for (at = signature; *at != '\0'; at++) {
        const int plain = *at != '+' && *at != '/' && *at != '=';
        length += (size_t)snprintf(body + length, room - length, plain ? "%c" : "%%%02X", (unsigned char)*at);
    }
    CHECK(length < room);
}

static credits_code tell(const char *body, credits_notification *notification, credits_error **error) {
    return credits_handle_notification(ledger, "alipay", NULL, 0, body, strlen(body), notification, error);
}

static void test_alipay_tells_of_a_payment(void) {
    credits_alipay_options alipay;
    credits_pay_order_options pay = CREDITS_PAY_ORDER_INIT;
    credits_payment_request request;
    credits_notification notification, again, zeros;
    credits_order order;
    credits_reply reply;
    char body[2048], *amount;
    credits_uuid user = id_of(1), package;
    memset(&zeros, 0, sizeof zeros);
    make_keys();
    alipay = alipay_options();
    open_shop(NULL, &alipay);
    package = a_package();
    order = an_order(user, package, "alipay");
    pay.order_no = order.order_no;
    pay.return_url = "https://shop.example/thanks";
    OK(credits_pay_order(ledger, &pay, &request, NULL, &error)); /* "page" asks nobody */
    CHECK(strcmp(request.name, "url") == 0 && request.expires_at == order.expires_at);
    CHECK(strncmp(request.value, "https://openapi.alipay.com/gateway.do?", 38) == 0);
    CHECK(strstr(request.value, order.order_no) != NULL && strstr(request.value, "shop.example%2Fthanks") != NULL);
    pay.method = "cash";
    REFUSED(CREDITS_VALIDATION, "method", credits_pay_order(ledger, &pay, NULL, NULL, &error));

    notice(body, sizeof body, order.order_no, "9.90", "WAIT_BUYER_PAY");
    OK(tell(body, &notification, &error));
    CHECK(notification.event == CREDITS_NOTIFICATION_IGNORED && notification.has_order == 0);
    CHECK(memcmp(&notification.order, &zeros.order, sizeof zeros.order) == 0);
    notice(body, sizeof body, order.order_no, "0.01", "TRADE_SUCCESS"); /* genuine, and not what was sold */
    REFUSED(CREDITS_PAYMENT_VERIFICATION, order.order_no, tell(body, NULL, &error));
    notice(body, sizeof body, "019a9f2e8c4d7b3aa1b2c3d4e5f60718", "9.90", "TRADE_SUCCESS"); /* not ours */
    REFUSED(CREDITS_NOT_FOUND, "019a9f2e8c4d7b3aa1b2c3d4e5f60718", tell(body, NULL, &error));
    CHECK(available(user) == 0);

    notice(body, sizeof body, order.order_no, "9.90", "TRADE_SUCCESS");
    amount = strstr(body, "9.90");
    amount[0] = '8';
    notification = zeros;
    REFUSED(CREDITS_PAYMENT_VERIFICATION, "\"channel\":\"alipay\"", tell(body, &notification, &error));
    CHECK(memcmp(&notification, &zeros, sizeof zeros) == 0 && available(user) == 0);
    amount[0] = '9';
    OK(tell(body, &notification, &error));
    CHECK(notification.event == CREDITS_NOTIFICATION_PAID && notification.has_order == 1);
    CHECK(notification.order.status == CREDITS_ORDER_PAID && available(user) == 110);
    CHECK(notification.order.paid_at == START); /* eight o'clock in Beijing */
    CHECK(strcmp(notification.order.transaction_id + 4, order.order_no) == 0);
    OK(tell(body, &again, &error));
    CHECK(memcmp(&notification, &again, sizeof again) == 0 && available(user) == 110);
    OK(tell(body, NULL, &error));

    OK(credits_notification_reply(ledger, "alipay", 1, &reply, &error));
    CHECK(reply.status == 200 && strcmp(reply.body, "success") == 0);
    OK(credits_notification_reply(ledger, "alipay", 0, &reply, &error));
    CHECK(reply.status == 200 && strcmp(reply.body, "failure") == 0);

    /* With its certificates instead of its key. */
    alipay.alipay_public_key = NULL;
    alipay.app_certificate = keys.app_certificate;
    alipay.alipay_certificate = keys.alipay_certificate;
    alipay.root_certificate = keys.root_certificate;
    open_shop(NULL, &alipay);
    order = an_order(user, package, "alipay");
    pay.order_no = order.order_no;
    pay.method = "page";
    OK(credits_pay_order(ledger, &pay, &request, NULL, &error));
    CHECK(strstr(request.value, "alipay_root_cert_sn=") != NULL);
    notice(body, sizeof body, order.order_no, "9.90", "TRADE_SUCCESS");
    amount = strstr(body, "9.90");
    amount[0] = '8';
    REFUSED(CREDITS_PAYMENT_VERIFICATION, "channel", tell(body, NULL, &error));
    amount[0] = '9';
    REFUSED(CREDITS_PAYMENT_VERIFICATION, "notification", tell("trade_status=TRADE_SUCCESS", NULL, &error));
    OK(tell(body, &notification, &error));
    CHECK(notification.order.status == CREDITS_ORDER_PAID && available(user) == 220);
    drop_keys();
}

/* --- Alipay's gateway, on loopback */

static struct gateway {
    int listening, asked, refuses;
    char url[64];
    pthread_t thread;
} gateway;

/* The value of a name in a form, up to what ends it. */
static int value_of(const char *form, const char *name, const char *ends, char *value, size_t room) {
    const char *start = strstr(form, name);
    size_t length;
    if (start == NULL) return 0;
    start += strlen(name);
    length = strcspn(start, ends);
    if (length >= room) return 0;
    memcpy(value, start, length);
    value[length] = '\0';
    return 1;
}

/* What Alipay says of an order. */
static const char *answer(const char *method) {
    if (gateway.refuses && strcmp(method, "alipay.trade.refund") == 0)
        return "{\"code\":\"40004\",\"sub_code\":\"ACQ.SELLER_BALANCE_NOT_ENOUGH\",\"sub_msg\":\"余额不足\"}";
    if (strcmp(method, "alipay.trade.precreate") == 0)
        return "{\"code\":\"10000\",\"out_trade_no\":\"%s\",\"qr_code\":\"https://qr.alipay.com/bax0\"}";
    if (strcmp(method, "alipay.trade.query") == 0)
        return "{\"code\":\"10000\",\"out_trade_no\":\"%s\",\"trade_no\":\"2026%s\","
               "\"trade_status\":\"TRADE_SUCCESS\",\"total_amount\":\"9.90\"}";
    if (strcmp(method, "alipay.trade.refund") == 0)
        return "{\"code\":\"10000\",\"out_trade_no\":\"%s\",\"fund_change\":\"Y\"}";
    if (strcmp(method, "alipay.trade.fastpay.refund.query") == 0) return "{\"code\":\"10000\"}"; /* not known yet */
    return "{\"code\":\"40004\",\"sub_code\":\"ACQ.REASON_TRADE_STATUS_INVALID\"}"; /* what is paid can't be closed */
}

static void serve(int socket) {
    char request[ROOM], method[64], order_no[64], response[80], said[1024], signature[512], body[2048], *at;
    size_t length = 0, wanted = sizeof request - 1;
    while (length < wanted) {
        ssize_t count = read(socket, request + length, sizeof request - 1 - length);
        if (count <= 0) return;
        length += (size_t)count;
        request[length] = '\0';
        at = strstr(request, "\r\n\r\n");
        if (at != NULL && value_of(request, "content-length: ", "\r", method, sizeof method))
            wanted = (size_t)(at + 4 - request) + (size_t)atoi(method);
    }
    if (!value_of(request, "&method=", "& ", method, sizeof method)) return;
    if (!value_of(request, "out_trade_no%22%3A%22", "%", order_no, sizeof order_no)) return;
    gateway.asked++;
    snprintf(said, sizeof said, answer(method), order_no, order_no);
    if (!sign(said, signature, sizeof signature)) return;
    snprintf(response, sizeof response, "%s_response", method);
    for (at = response; *at != '\0'; at++)
        if (*at == '.') *at = '_';
    snprintf(body, sizeof body, "{\"%s\":%s,\"sign\":\"%s\"}", response, said, signature);
    length = (size_t)snprintf(request, sizeof request,
                              "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", strlen(body), body);
    if (write(socket, request, length) != (ssize_t)length) return;
}

static void *serve_all(void *nothing) {
    int socket;
    while ((socket = accept(gateway.listening, NULL, NULL)) >= 0) {
        serve(socket);
        close(socket);
    }
    return nothing;
}

static void open_gateway(void) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    gateway.asked = gateway.refuses = 0;
    gateway.listening = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(gateway.listening >= 0);
    CHECK(bind(gateway.listening, (struct sockaddr *)&address, sizeof address) == 0 && listen(gateway.listening, 8) == 0);
    CHECK(getsockname(gateway.listening, (struct sockaddr *)&address, &size) == 0);
    snprintf(gateway.url, sizeof gateway.url, "http://127.0.0.1:%d/gateway.do", ntohs(address.sin_port));
    CHECK(pthread_create(&gateway.thread, NULL, serve_all, NULL) == 0);
}

static void close_gateway(void) {
    shutdown(gateway.listening, SHUT_RDWR);
    CHECK(pthread_join(gateway.thread, NULL) == 0);
    close(gateway.listening);
}

static void test_alipay_is_asked_over_the_network(void) {
    credits_alipay_options alipay;
    credits_pay_order_options pay = CREDITS_PAY_ORDER_INIT;
    credits_refund_order_options refund = CREDITS_REFUND_ORDER_INIT;
    credits_payment_request request;
    credits_reconciled done;
    credits_order order, other;
    credits_order_refund refunds[2];
    credits_uuid user = id_of(1), package;
    char *text = NULL;
    size_t count = 0;
    credits_code code;
    make_keys();
    open_gateway();
    alipay = alipay_options();
    alipay.gateway = gateway.url;
    open_shop(NULL, &alipay);
    package = a_package();
    order = an_order(user, package, "alipay");
    pay.order_no = order.order_no;
    pay.method = "qr";
    OK(credits_pay_order(ledger, &pay, &request, &text, &error));
    CHECK(strcmp(request.name, "qr_code") == 0 && strcmp(request.value, "https://qr.alipay.com/bax0") == 0);
    CHECK(strcmp(text, "{\"qr_code\":\"https://qr.alipay.com/bax0\"}") == 0 && gateway.asked == 1);
    credits_string_free(text);
    /* The payer has paid, and no notification comes. */
    OK(credits_reconcile_orders(ledger, 0, &done, &text, &error));
    CHECK(done.orders == 1 && done.settled == 1 && done.failed == 0 && strcmp(text, "[]") == 0);
    credits_string_free(text);
    OK(credits_get_order(ledger, order.order_no, &order, &error));
    CHECK(order.status == CREDITS_ORDER_PAID && available(user) == 110);
    CHECK(strcmp(order.transaction_id + 4, order.order_no) == 0);
    refund.order_no = order.order_no;
    refund.amount = "9.90";
    gateway.refuses = 1;
    REFUSED(CREDITS_PAYMENT_CHANNEL, "\"reason\":\"ACQ.SELLER_BALANCE_NOT_ENOUGH\"",
            credits_refund_order(ledger, &refund, NULL, &error));
    CHECK(available(user) == 110);
    gateway.refuses = 0;
    OK(credits_refund_order(ledger, &refund, &order, &error));
    CHECK(order.status == CREDITS_ORDER_REFUNDED && order.refunds == 2 && available(user) == 0);
    OK(credits_order_refunds(ledger, order.order_no, refunds, 2, &count, &error));
    CHECK(count == 2 && refunds[0].status == CREDITS_ORDER_REFUND_FAILED && refunds[0].taken == 110);
    CHECK(strstr(refunds[0].problem, "余额不足") != NULL);
    CHECK(refunds[1].status == CREDITS_ORDER_REFUND_SUCCEEDED && refunds[1].taken == 110);

    other = an_order(user, package, "alipay");
    pay.order_no = other.order_no;
    pay.method = "page";
    OK(credits_pay_order(ledger, &pay, NULL, NULL, &error));
    /* Somebody pays while it is closed. */
    OK(credits_close_order(ledger, other.order_no, &other, &error));
    CHECK(other.status == CREDITS_ORDER_PAID && available(user) == 110);

    other = an_order(user, package, "alipay");
    pay.order_no = other.order_no;
    OK(credits_pay_order(ledger, &pay, NULL, NULL, &error));
    close_gateway();
    pay.method = "qr";
    code = credits_pay_order(ledger, &pay, NULL, NULL, NULL);
    CHECK(code == CREDITS_UNAVAILABLE || code == CREDITS_UNKNOWN_OUTCOME);
    OK(credits_reconcile_orders(ledger, 0, &done, &text, &error));
    CHECK(done.orders == 1 && done.failed == 1);
    CHECK(strstr(text, other.order_no) != NULL && strstr(text, "\"code\":\"unavailable\"") != NULL);
    credits_string_free(text);
    REFUSED(CREDITS_UNAVAILABLE, "alipay", credits_close_order(ledger, other.order_no, NULL, &error));
    drop_keys();
}

/* --- WeChat Pay */

#define NOTICES "src/payments/wechat/tests/other.json"
#define UNKNOWN_ORDER "019a9f2e8c4d7b3aa1b2c3d4e5f60718"

static char other[64 * 1024];

/* The text of this name that stands first behind a place. */
static void text_after(const char *place, const char *name, char *text, size_t room) {
    char quoted[64];
    size_t length = 0;
    const char *at;
    snprintf(quoted, sizeof quoted, "\"%s\": \"", name);
    at = strstr(place, quoted);
    CHECK(at != NULL);
    for (at += strlen(quoted); *at != '"'; at++) {
        CHECK(*at != '\0' && length < room - 1);
        if (*at == '\\') {
            at++;
            CHECK(*at == 'n' || *at == '"' || *at == '\\');
        }
        text[length++] = at[-1] == '\\' && *at == 'n' ? '\n' : *at;
    }
    text[length] = '\0';
}

/* A notification of WeChat Pay's. */
struct wechat_notice {
    char values[5][1024], body[4096];
    credits_header headers[6]; /* room for one that came twice */
};

static void read_notice(const char *name, struct wechat_notice *made) {
    static const char *const NAMES[] = {"Wechatpay-Serial", "Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Signature",
                                        "Wechatpay-Signature-Type"};
    char quoted[64];
    const char *place;
    int n;
    snprintf(quoted, sizeof quoted, "\"%s\": {", name);
    place = strstr(other, quoted);
    CHECK(place != NULL);
    for (n = 0; n < 5; n++) {
        text_after(place, NAMES[n], made->values[n], sizeof made->values[n]);
        made->headers[n].name = NAMES[n];
        made->headers[n].value = made->values[n];
    }
    text_after(place, "body", made->body, sizeof made->body);
}

static credits_code told(const struct wechat_notice *notice, size_t headers, credits_error **error) {
    return credits_handle_notification(ledger, "wechat", notice->headers, headers, notice->body, strlen(notice->body), NULL,
                                       error);
}

static struct wechat {
    char api_v3_key[64], id[64], public_key[2048], certificate[4096];
    credits_public_key key;
    const char *certificates[1];
    credits_wechat_options options;
} wechat;

/* As the notifications of the file are for. */
static void configure_wechat(void) {
    const credits_wechat_options init = CREDITS_WECHAT_INIT;
    FILE *file = fopen(NOTICES, "r");
    CHECK(file != NULL); /* the tests run where the repository begins */
    other[fread(other, 1, sizeof other - 1, file)] = '\0';
    fclose(file);
    make_keys();
    text_after(other, "api_v3_key", wechat.api_v3_key, sizeof wechat.api_v3_key);
    text_after(strstr(other, "\"public_key\""), "id", wechat.id, sizeof wechat.id);
    text_after(strstr(other, "\"public_key\""), "pem", wechat.public_key, sizeof wechat.public_key);
    text_after(strstr(other, "\"certificate\""), "pem", wechat.certificate, sizeof wechat.certificate);
    wechat.key.id = wechat.id;
    wechat.key.pem = wechat.public_key;
    wechat.certificates[0] = wechat.certificate;
    wechat.options = init;
    wechat.options.merchant_id = "1900000109";
    wechat.options.app_id = "wxd678efh567hg6787";
    wechat.options.api_v3_key = wechat.api_v3_key;
    wechat.options.merchant_serial = "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C";
    wechat.options.merchant_key = keys.app;
    wechat.options.public_keys = &wechat.key;
    wechat.options.public_keys_count = 1;
    wechat.options.certificates = wechat.certificates;
    wechat.options.certificates_count = 1;
    wechat.options.notify_url = "https://shop.example/notify/wechat";
    wechat.options.refund_notify_url = "https://shop.example/notify/wechat/refund";
}

static void test_wechat_s_notifications(void) {
    struct wechat_notice notice;
    credits_reply reply;
    int64_t now;
    static const char *const GENUINE[] = {"payment", "payment_by_certificate", "refund"};
    static const char *const FORGED[] = {"payment_with_sha1", "payment_with_pss"};
    size_t n;
    configure_wechat();
    now = atoll(strstr(other, "\"now\": ") + 7) * SECOND;
    OK(credits_clock_set(the_clock, now, &error));
    open_shop(&wechat.options, NULL);
    /* What is genuine is read: it is about an order that this ledger does not have. */
    for (n = 0; n < 3; n++) {
        read_notice(GENUINE[n], &notice);
        REFUSED(CREDITS_NOT_FOUND, UNKNOWN_ORDER, told(&notice, 5, &error));
        REFUSED(CREDITS_NOT_FOUND, UNKNOWN_ORDER, told(&notice, 4, &error)); /* the type may be missing */
        REFUSED(CREDITS_PAYMENT_VERIFICATION, "Wechatpay-Signature", told(&notice, 3, &error));
        notice.headers[5] = notice.headers[n];
        REFUSED(CREDITS_PAYMENT_VERIFICATION, "came twice", told(&notice, 6, &error));
        notice.body[20] ^= 1;
        REFUSED(CREDITS_PAYMENT_VERIFICATION, "\"channel\":\"wechat\"", told(&notice, 5, &error));
        notice.body[20] ^= 1;
        notice.values[2][0] ^= 1;
        REFUSED(CREDITS_PAYMENT_VERIFICATION, "signature", told(&notice, 5, &error));
    }
    for (n = 0; n < 2; n++) {
        read_notice(FORGED[n], &notice);
        REFUSED(CREDITS_PAYMENT_VERIFICATION, "signature", told(&notice, 5, &error));
    }
    read_notice("payment", &notice);
    OK(credits_clock_advance(the_clock, 6 * MINUTE, &error));
    REFUSED(CREDITS_PAYMENT_VERIFICATION, "seconds from now", told(&notice, 5, &error));
    OK(credits_clock_set(the_clock, now, &error));
    /* Without the key that it is signed with. */
    wechat.options.public_keys_count = 0;
    open_shop(&wechat.options, NULL);
    REFUSED(CREDITS_PAYMENT_VERIFICATION, "does not have", told(&notice, 5, &error));
    read_notice("payment_by_certificate", &notice);
    REFUSED(CREDITS_NOT_FOUND, UNKNOWN_ORDER, told(&notice, 5, &error));

    OK(credits_notification_reply(ledger, "wechat", 1, &reply, &error));
    CHECK(reply.status == 200 && strcmp(reply.content_type, "application/json") == 0);
    OK(credits_notification_reply(ledger, "wechat", 0, &reply, &error));
    CHECK(reply.status == 500 && strstr(reply.body, "FAIL") != NULL);
    drop_keys();
}

static void test_wechat_s_bill(void) {
    credits_settle_order_options settle = CREDITS_SETTLE_ORDER_INIT;
    credits_pay_order_options pay = CREDITS_PAY_ORDER_INIT;
    credits_statement_report report;
    credits_order paid, open, missing;
    credits_uuid package;
    char bill[4096], *text = NULL;
    size_t length;
    int n;
    configure_wechat();
    wechat.options.base_url = "http://127.0.0.1:9"; /* nobody is there */
    open_shop(&wechat.options, NULL);
    package = a_package();
    paid = an_order(id_of(1), package, "wechat");
    open = an_order(id_of(1), package, "wechat");
    missing = an_order(id_of(1), package, "wechat");
    pay.order_no = open.order_no;
    REFUSED(CREDITS_UNAVAILABLE, "wechat", credits_pay_order(ledger, &pay, NULL, NULL, &error));
    settle.amount = "9.90";
    settle.paid_at = START;
    settle.order_no = paid.order_no;
    settle.transaction_id = "4200000001";
    OK(credits_settle_order(ledger, &settle, NULL, &error));
    settle.order_no = missing.order_no;
    settle.transaction_id = "4200000002";
    OK(credits_settle_order(ledger, &settle, NULL, &error));

    length = (size_t)snprintf(bill, sizeof bill,
                              "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
                              "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
                              "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注\r\n");
    for (n = 0; n < 2; n++)
        length += (size_t)snprintf(bill + length, sizeof bill - length,
                                   "`2026-01-01 08:00:00,`wxd678efh567hg6787,`1900000109,`0,`,`420000000%d,`%s,`o,`NATIVE,"
                                   "`SUCCESS,`OTHERS,`CNY,`9.90,`0.00,`0,`0,`0.00,`0.00,`,`,`credits,`,`0.06000,`0.60%%,`9.90,"
                                   "`0.00,`\r\n",
                                   n == 0 ? 1 : 3, n == 0 ? paid.order_no : open.order_no);
    length += (size_t)snprintf(bill + length, sizeof bill - length,
                               "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额\r\n"
                               "`2,`19.80,`0.00,`0.00,`0.12000,`19.80,`0.00\r\n");
    CHECK(length < sizeof bill);
    OK(credits_reconcile_statement(ledger, "wechat", bill, length, START, START + 60 * MINUTE, &report, &text, &error));
    CHECK(report.matched == 1 && report.differences == 2);
    CHECK(strstr(text, "\"kind\":\"not_settled\"") != NULL && strstr(text, open.order_no) != NULL);
    CHECK(strstr(text, "\"kind\":\"missing_payment\"") != NULL && strstr(text, missing.order_no) != NULL);
    CHECK(strstr(text, "\"transaction_id\":\"4200000003\"") != NULL && strstr(text, paid.order_no) == NULL);
    credits_string_free(text);
    OK(credits_reconcile_statement(ledger, "wechat", bill, length, START, START + 1, NULL, NULL, &error));
    text = NULL;
    REFUSED(CREDITS_VALIDATION, "bill",
            credits_reconcile_statement(ledger, "wechat", bill, 100, START, START + 1, &report, &text, &error));
    CHECK(text == NULL);
    drop_keys();
}

/* --- what is no configuration */

/* Refused, by its name and without a word of what may be a key. */
static void refuse(const credits_wechat_options *wechat_given, const credits_alipay_options *alipay_given,
                   const char *field) {
    char fact[128];
    credits_settings settings = CREDITS_SETTINGS_INIT;
    credits_ledger *opened = NULL;
    credits_error *error = NULL;
    credits_code code;
    settings.wechat = wechat_given;
    settings.alipay = alipay_given;
    code = credits_open("memory:", &settings, &opened, &error);
    snprintf(fact, sizeof fact, "\"channel\":\"%s\",\"field\":\"%s\"", wechat_given != NULL ? "wechat" : "alipay", field);
    if (code != CREDITS_VALIDATION || opened != NULL || strstr(credits_error_facts(error), fact) == NULL)
        fprintf(stderr, "expected %s: %d %s\n", fact, (int)code, credits_error_facts(error));
    CHECK(code == CREDITS_VALIDATION && opened == NULL && strstr(credits_error_facts(error), fact) != NULL);
    CHECK(strstr(credits_error_message(error), field) != NULL);
    CHECK(strstr(credits_error_message(error), "SECRET") == NULL && strstr(credits_error_facts(error), "SECRET") == NULL);
    credits_error_free(error);
}

#define BAD_KEY "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"

static void test_what_wechat_is_not_configured_with(void) {
    credits_wechat_options wrong;
    credits_public_key key;
    const char *certificate;
    credits_settings settings = CREDITS_SETTINGS_INIT;
    credits_ledger *opened = NULL;
    configure_wechat();
#define WRONG(field, text)     \
    wrong = wechat.options;    \
    wrong.field = text;        \
    refuse(&wrong, NULL, #field)
#define NEEDED(field)       \
    WRONG(field, NULL);     \
    WRONG(field, "");       \
    WRONG(field, BAD_UTF8); \
    WRONG(field, BAD_KEY)
    NEEDED(merchant_id);
    NEEDED(app_id);
    NEEDED(api_v3_key);
    NEEDED(merchant_serial);
    NEEDED(merchant_key);
    NEEDED(notify_url);
    WRONG(notify_url, "http://shop.example/notify");
    WRONG(refund_notify_url, BAD_UTF8);
    WRONG(refund_notify_url, "https://shop.example/?notify");
    WRONG(base_url, BAD_UTF8);
    WRONG(base_url, "http://elsewhere.example");
    WRONG(questions_at_once, 101);
    WRONG(patience, 999);
    WRONG(patience, -1);
    WRONG(public_keys, NULL);
    WRONG(certificates, NULL);
    key = wechat.key;
    key.pem = BAD_KEY;
    WRONG(public_keys, &key);
    key.pem = NULL;
    WRONG(public_keys, &key);
    key = wechat.key;
    key.id = "SECRET";
    WRONG(public_keys, &key);
    key.id = BAD_UTF8;
    WRONG(public_keys, &key);
    wrong = wechat.options;
    wrong.public_keys_count = wrong.certificates_count = 0;
    refuse(&wrong, NULL, "public_keys");
    wrong.certificates_count = 1;
    wrong.certificates = &certificate;
    certificate = NULL;
    refuse(&wrong, NULL, "certificates");
    certificate = BAD_UTF8;
    refuse(&wrong, NULL, "certificates");
    certificate = wechat.public_key; /* a key is no certificate */
    refuse(&wrong, NULL, "certificates");
    wrong.size = 0;
    refuse(&wrong, NULL, "size");

    /* A program of before there were channels: what lies behind its settings is none. */
    settings.size = offsetof(credits_settings, wechat);
    settings.wechat = &wrong;
    settings.order_ttl = -1;
    OK(credits_open("memory:", &settings, &opened, &error));
    credits_close(opened);
    drop_keys();
}
#undef WRONG
#undef NEEDED

static void test_what_alipay_is_not_configured_with(void) {
    credits_alipay_options alipay, wrong;
    credits_settings settings = CREDITS_SETTINGS_INIT;
    credits_ledger *opened = NULL;
    make_keys();
    alipay = alipay_options();
#define WRONG(field, text)  \
    wrong = alipay;         \
    wrong.field = text;     \
    refuse(NULL, &wrong, #field)
#define NEEDED(field)       \
    WRONG(field, NULL);     \
    WRONG(field, "");       \
    WRONG(field, BAD_UTF8); \
    WRONG(field, BAD_KEY)
    NEEDED(app_id);
    NEEDED(app_private_key);
    NEEDED(alipay_public_key);
    NEEDED(notify_url);
    WRONG(seller_id, "SECRET");
    WRONG(seller_id, BAD_UTF8);
    WRONG(gateway, "http://elsewhere.example");
    WRONG(questions_at_once, 101);
    WRONG(patience, 999);
    WRONG(patience, -1);
    WRONG(gateway, BAD_UTF8);
    WRONG(qr_product_code, "two words");
    WRONG(qr_product_code, BAD_UTF8);
    WRONG(alipay_public_key, keys.app);
    /* Certificates, some of them missing or in each other's places. */
    wrong = alipay;
    wrong.app_certificate = keys.app_certificate;
    refuse(NULL, &wrong, "alipay_public_key");
    wrong.alipay_public_key = NULL;
    refuse(NULL, &wrong, "alipay_public_key");
    alipay.alipay_public_key = NULL;
    alipay.app_certificate = keys.app_certificate;
    alipay.alipay_certificate = keys.alipay_certificate;
    alipay.root_certificate = keys.root_certificate;
    WRONG(app_certificate, keys.alipay_certificate);
    WRONG(app_certificate, BAD_UTF8);
    WRONG(alipay_certificate, BAD_KEY);
    WRONG(alipay_certificate, keys.app_certificate);
    WRONG(root_certificate, BAD_KEY);
    WRONG(root_certificate, BAD_UTF8);
    WRONG(size, 0);

    settings.order_ttl = SECOND;
    REFUSED(CREDITS_VALIDATION, "order_ttl", credits_open("memory:", &settings, &opened, &error));
    settings.order_ttl = -1;
    REFUSED(CREDITS_VALIDATION, "order_ttl", credits_open("memory:", &settings, &opened, &error));
    settings.order_ttl = 0;
    settings.late_payment = 2;
    REFUSED(CREDITS_VALIDATION, "late_payment", credits_open("memory:", &settings, &opened, &error));
    settings.late_payment = CREDITS_LATE_PAYMENT_SETTLE;
    settings.max_open_orders = 1001;
    REFUSED(CREDITS_VALIDATION, "max_open_orders", credits_open("memory:", &settings, &opened, &error));
    CHECK(opened == NULL);
    drop_keys();
}

const struct test CHANNEL_TESTS[] = {
#define TEST(name) {#name, test_##name}
    TEST(alipay_tells_of_a_payment),
    TEST(alipay_is_asked_over_the_network),
    TEST(wechat_s_notifications),
    TEST(wechat_s_bill),
    TEST(what_wechat_is_not_configured_with),
    TEST(what_alipay_is_not_configured_with),
    {NULL, NULL},
};
