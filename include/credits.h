/*
 * libcredits: a prepaid-credit ledger inside your process, on your own SQLite or PostgreSQL.
 * Made by scripts/make-header from bindings/c: change that, not this.
 *
 * Every call returns a credits_code: CREDITS_OK, or what went wrong. Its last argument is NULL, or a place for the error
 * object, which the caller frees; it is written only where something went wrong. Results are written only where nothing
 * did. Every function is safe with NULL: a pointer that is needed gives CREDITS_VALIDATION.
 *
 * Text is UTF-8 and ends with a NUL. Text that comes in is copied. Text that a call gives as a char * is freed with
 * credits_string_free(); structs that go out hold nothing that has to be freed. Ids are 16 bytes; all zeros stands for
 * none. Times are microseconds since 1970 UTC, durations microseconds; 0 stands for none, or for the default. Credits are
 * whole numbers from 1 to 2^53 - 1. Money is a decimal number in text, such as "9.90", and an ISO 4217 code.
 *
 * Structs that come in begin with their size; set them to their CREDITS_*_INIT first, and name what you need:
 *
 *     credits_consume_options consume = CREDITS_CONSUME_INIT;
 *     consume.user_id = user;
 *     consume.amount = 75;
 *
 * A ledger is safe in all threads at once. About fork(): see credits_ledger.
 */


#ifndef CREDITS_H
#define CREDITS_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header; credits_version() is that of the library that runs. */
#define CREDITS_VERSION "0.1.0"


// The version of this header: 10000 * major + 100 * minor + patch.
#define CREDITS_VERSION_NUMBER 100

// Where more was used than is held: refuse.
#define CREDITS_OVERAGE_REJECT 0

// Take what is available, or refuse.
#define CREDITS_OVERAGE_AVAILABLE 1

// Take it all, and book what is missing as debt.
#define CREDITS_OVERAGE_DEBT 2

// After the deadline: refuse.
#define CREDITS_LATE_REJECT 0

// Take the credits anew, if they are available.
#define CREDITS_LATE_RECHARGE 1

// Credits to be taken back that are spent: let them go.
#define CREDITS_SHORTFALL_FORGIVE 0

// Book them as debt.
#define CREDITS_SHORTFALL_DEBT 1

// It was done.
#define CREDITS_OK 0

// An argument is malformed, missing or past a limit. The facts name the `field`, the `problem` and the `limit`.
#define CREDITS_VALIDATION 1

// There is no such consumption, lot, package, rate card or order.
#define CREDITS_NOT_FOUND 2

// More was asked for than is there: credits_error_required() and credits_error_available().
#define CREDITS_INSUFFICIENT_CREDITS 3

// The hold's deadline has passed. Consume again, or confirm with CREDITS_LATE_RECHARGE.
#define CREDITS_HOLD_EXPIRED 4

// The consumption or order is in a state that does not allow it: the facts name the `state`. Or too many orders of the account
// wait for a payment: the facts name `open_orders` and `limit`.
#define CREDITS_INVALID_STATE 5

// The idempotency key was used before for another request.
#define CREDITS_IDEMPOTENCY_CONFLICT 6

// A payment channel's message is not what it claims to be, or a payment does not fit its order. The facts name the `channel`
// or the `order_no`, and the `problem`.
#define CREDITS_PAYMENT_VERIFICATION 7

// The database or a payment channel, or the way to it, failed. Nothing has changed: try again.
#define CREDITS_UNAVAILABLE 8

// The database failed while it wrote, or a payment channel did not answer. Nobody can tell whether it was done; repeating
// it with the same idempotency key is safe.
#define CREDITS_UNKNOWN_OUTCOME 9

// The ledger was opened before this process was forked: open it anew.
#define CREDITS_FORKED 10

// A fault of this library; please report it.
#define CREDITS_INTERNAL 11

// A payment channel said no. The facts name the `channel` and its own `reason`.
#define CREDITS_PAYMENT_CHANNEL 12

// A record's level: something failed.
#define CREDITS_LOG_ERROR 1

// Something went wrong, and is tried again.
#define CREDITS_LOG_WARN 2

// Something worth knowing.
#define CREDITS_LOG_INFO 3

// For whoever looks for a fault.
#define CREDITS_LOG_DEBUG 4

// An order's status: written down; no channel knows of it.
#define CREDITS_ORDER_CREATED 1

// The channel was told, or is about to be.
#define CREDITS_ORDER_PAYING 2

// Paid, and the credits are granted.
#define CREDITS_ORDER_PAID 3

// Not paid in time, or given up.
#define CREDITS_ORDER_CLOSED 4

// Some of its money is on its way back.
#define CREDITS_ORDER_REFUNDING 5

// All of its money is back.
#define CREDITS_ORDER_REFUNDED 6

// A part of its money is back, and no other part is on its way.
#define CREDITS_ORDER_PARTIALLY_REFUNDED 7

// The status of an order's refund: the channel was asked, or is about to be.
#define CREDITS_ORDER_REFUND_PENDING 1

// The money is back where it came from.
#define CREDITS_ORDER_REFUND_SUCCEEDED 2

// The channel won't do it; the credits are back.
#define CREDITS_ORDER_REFUND_FAILED 3

// What a notification meant: an order was paid, now or before.
#define CREDITS_NOTIFICATION_PAID 1

// Something about a refund.
#define CREDITS_NOTIFICATION_REFUND 2

// Nothing that the books have to know.
#define CREDITS_NOTIFICATION_IGNORED 3

// The bytes of a text field: 255 bytes of UTF-8 and a NUL.
#define CREDITS_TEXT 256

// The bytes of a counter-account's name, with its NUL.
#define CREDITS_ACCOUNT_TEXT 320

// The bytes of a number in text, with its NUL.
#define CREDITS_NUMBER_TEXT 48

// The bytes of a page's cursor, with its NUL.
#define CREDITS_CURSOR_TEXT 64

// The bytes of the name of a payment channel, or of a parameter, with its NUL.
#define CREDITS_NAME_TEXT 40

// The bytes of an order's number, or of a refund's, with its NUL.
#define CREDITS_ORDER_NO_TEXT 48

// The bytes of what a payer scans or opens, with its NUL.
#define CREDITS_LINK_TEXT 8192

// A consumption's status: its credits are held.
#define CREDITS_PENDING 1

// What was used is spent.
#define CREDITS_CONFIRMED 2

// Everything was given back.
#define CREDITS_REFUNDED 3

// The hold's deadline has passed; everything is back.
#define CREDITS_EXPIRED 4

// A lot's source: bought.
#define CREDITS_SOURCE_PURCHASE 1

// On top of a purchase.
#define CREDITS_SOURCE_BONUS 2

// A present.
#define CREDITS_SOURCE_GIFT 3

// Of a subscription.
#define CREDITS_SOURCE_SUBSCRIPTION 4

// Of a correction.
#define CREDITS_SOURCE_ADJUSTMENT 5

// Reversed after its own lot had expired.
#define CREDITS_SOURCE_REVERSAL 6

// An opening balance from another system.
#define CREDITS_SOURCE_OPENING 7

// An entry's kind: credits were granted.
#define CREDITS_KIND_GRANT 1

// A present was given.
#define CREDITS_KIND_GIFT 2

// Credits were held.
#define CREDITS_KIND_CONSUME 3

// A hold was captured.
#define CREDITS_KIND_CONFIRM 4

// A hold was released.
#define CREDITS_KIND_REFUND 5

// A capture was reversed.
#define CREDITS_KIND_REVERSE 6

// A hold's deadline was moved.
#define CREDITS_KIND_EXTEND 7

// A hold expired.
#define CREDITS_KIND_EXPIRE_HOLD 8

// A lot expired.
#define CREDITS_KIND_EXPIRE_LOT 9

// The balance was corrected.
#define CREDITS_KIND_ADJUST 10

// The credit limit was set.
#define CREDITS_KIND_CREDIT_LIMIT 11

// Granted credits were taken back.
#define CREDITS_KIND_CLAWBACK 12

// An order was made, or changed without moving credits.
#define CREDITS_KIND_ORDER 13

// What becomes of credits of a hold that is released after their lot's expiry: they expire at once.
#define CREDITS_EXPIRED_LOTS_EXPIRE 0

// They live for `release_grace`.
#define CREDITS_EXPIRED_LOTS_GRACE 1

// What becomes of a payment that arrives when its order is closed: the order is settled.
#define CREDITS_LATE_PAYMENT_SETTLE 0

// The money is sent back.
#define CREDITS_LATE_PAYMENT_REFUND 1

// The bytes of an id in text, with its NUL.
#define CREDITS_UUID_TEXT 37

// A clock that stands still until it is moved: a test runs a year in a second. Made by credits_clock_new(), freed by
// credits_clock_free(); ledgers that use it keep it alive. Safe in all threads.
typedef struct credits_clock credits_clock;

// What went wrong. Made by a call that fails, where its last argument is not NULL; freed by credits_error_free().
typedef struct credits_error credits_error;

// A ledger in a database. Safe in all threads at once. Opened by credits_open(), closed by credits_close(), once, when no
// other call is under way.
//
// A process that forks: call credits_before_fork() before and credits_after_fork() after it in the parent. The child must
// open a ledger of its own; on the parent's every call gives CREDITS_FORKED, and credits_close() does nothing.
typedef struct credits_ledger credits_ledger;

// How a call ended: CREDITS_OK, or one of the other CREDITS_* numbers below. The numbers never change their meaning.
typedef int32_t credits_code;

// An id. All zeros stands for none.
typedef struct credits_uuid {
    // In the order in which it is written.
    uint8_t bytes[16];
} credits_uuid;

// A quantity by its name.
typedef struct credits_number {
    // Such as "input_tokens".
    const char *name;
    // A decimal number, such as "1200".
    const char *number;
} credits_number;

// An attribute by its name.
typedef struct credits_attribute {
    // Such as "quality".
    const char *name;
    // Such as "hd".
    const char *value;
} credits_attribute;

// What to hold. Set it to CREDITS_CONSUME_INIT first; zero and NULL mean not given.
typedef struct credits_consume_options {
    // sizeof(credits_consume_options).
    size_t size;
    // Whose credits.
    struct credits_uuid user_id;
    // Credits. Either this, or `feature` with what its rate card meters.
    int64_t amount;
    // What it is for.
    const char *feature;
    // How much of it, a decimal number such as "12.5"; "1" where neither this nor `quantities` is given.
    const char *quantity;
    // Where the card meters several quantities: each by its name.
    const struct credits_number *quantities;
    // How many there are.
    size_t quantities_count;
    // What the card wants to know besides.
    const struct credits_attribute *attributes;
    // How many there are.
    size_t attributes_count;
    // How long the hold lives, in microseconds: 1 s to 30 d.
    int64_t ttl;
    // Your own name for it, up to 255 bytes.
    const char *reference;
    // A JSON object of your own, up to 16 KiB.
    const char *metadata;
    // Makes repeating it safe: the same key gives the first result. Up to 255 bytes, unique for the account.
    const char *idempotency_key;
} credits_consume_options;

// One use of credits.
typedef struct credits_consumption {
    // Its id, for credits_confirm(), credits_refund(), credits_extend().
    struct credits_uuid id;
    // Whose it is.
    struct credits_uuid user_id;
    // CREDITS_PENDING, CREDITS_CONFIRMED, CREDITS_REFUNDED or CREDITS_EXPIRED.
    int32_t status;
    // Whether it has metadata: credits_metadata(). 1 or 0.
    int32_t has_metadata;
    // Credits that were held.
    int64_t amount;
    // Credits that were spent.
    int64_t captured;
    // Credits of those that were given back.
    int64_t reversed;
    // Credits that no lot paid for: they are owed.
    int64_t borrowed;
    // When it was made.
    int64_t created_at;
    // The hold's deadline.
    int64_t expires_at;
    // When it was confirmed, refunded or expired; 0 where it was not.
    int64_t settled_at;
    // What it is for; "" where that was not said.
    char feature[CREDITS_TEXT];
    // The caller's own name for it; "" where there is none.
    char reference[CREDITS_TEXT];
} credits_consumption;

// What became of one item of credits_consume_many().
typedef struct credits_outcome {
    // CREDITS_OK, or why not.
    credits_code code;
    // Of CREDITS_INSUFFICIENT_CREDITS: what it needs, and what is there.
    int64_t required;
    // See `required`.
    int64_t available;
    // The hold; all zeros where there is none.
    struct credits_consumption consumption;
    // What is wrong, shortened; "" where nothing is.
    char message[CREDITS_TEXT];
} credits_outcome;

// What a hold is settled with. Set it to CREDITS_CONFIRM_INIT first; zero and NULL mean not given.
typedef struct credits_confirm_options {
    // sizeof(credits_confirm_options).
    size_t size;
    // The hold.
    struct credits_uuid consumption_id;
    // Credits that were really used; all that is held where neither this nor a quantity is given.
    int64_t amount;
    // How much was really used, priced by the card that the hold was made with.
    const char *quantity;
    // Where the card meters several quantities: each by its name.
    const struct credits_number *quantities;
    // How many there are.
    size_t quantities_count;
    // CREDITS_OVERAGE_*.
    int32_t overage;
    // CREDITS_LATE_*.
    int32_t late;
    // Makes repeating it safe.
    const char *idempotency_key;
} credits_confirm_options;

// What is given back. Set it to CREDITS_REFUND_INIT first; zero and NULL mean not given.
typedef struct credits_refund_options {
    // sizeof(credits_refund_options).
    size_t size;
    // The consumption.
    struct credits_uuid consumption_id;
    // A part of what was captured; all of it where none is given.
    int64_t amount;
    // Why, up to 255 bytes.
    const char *reason;
    // Whether only a hold is released, and a capture stays (CREDITS_INVALID_STATE): 1 or 0.
    int32_t pending_only;
    // Zero.
    int32_t reserved;
    // Makes repeating it safe.
    const char *idempotency_key;
    // By whom, up to 255 bytes.
    const char *operator_name;
} credits_refund_options;

// Credits for an account. Set it to CREDITS_GRANT_INIT first; zero and NULL mean not given.
typedef struct credits_grant_options {
    // sizeof(credits_grant_options).
    size_t size;
    // The account.
    struct credits_uuid user_id;
    // How many.
    int64_t amount;
    // CREDITS_SOURCE_*.
    int32_t source;
    // Lower burns first.
    int32_t priority;
    // When they expire; never without.
    int64_t expires_at;
    // What was paid for them, in the currency's minor unit; with `cost_currency`.
    int64_t cost_minor;
    // ISO 4217 code.
    const char *cost_currency;
    // Your own name for it, such as an order's number.
    const char *reference;
    // Makes repeating it safe.
    const char *idempotency_key;
} credits_grant_options;

// What a grant, a gift, an adjustment or a new credit limit did.
typedef struct credits_receipt {
    // The account.
    struct credits_uuid user_id;
    // The lot that was made; all zeros where none was.
    struct credits_uuid lot_id;
    // The entry's number.
    int64_t seq;
    // CREDITS_KIND_*.
    int32_t kind;
    // The lot's source, CREDITS_SOURCE_*; 0 where there is no lot.
    int32_t source;
    // Change of `available`.
    int64_t amount;
    // `available` afterwards.
    int64_t available;
    // The credit limit, where it was set.
    int64_t credit_limit;
    // When the lot expires; 0 for never.
    int64_t expires_at;
    // When it was done.
    int64_t created_at;
} credits_receipt;

// A present, or a correction. Set it to CREDITS_GIFT_INIT or CREDITS_ADJUST_INIT first; zero and NULL mean not given.
typedef struct credits_gift_options {
    // sizeof(credits_gift_options).
    size_t size;
    // The account.
    struct credits_uuid user_id;
    // How many credits; of a correction, below zero takes away.
    int64_t amount;
    // Why, up to 255 bytes.
    const char *reason;
    // By whom.
    const char *operator_name;
    // Of a present: when it expires; never without.
    int64_t expires_at;
    // Makes repeating it safe.
    const char *idempotency_key;
} credits_gift_options;

// Granted credits to take back. Set it to CREDITS_CLAWBACK_INIT first; zero and NULL mean not given.
typedef struct credits_clawback_options {
    // sizeof(credits_clawback_options).
    size_t size;
    // The account.
    struct credits_uuid user_id;
    // The lot that was granted.
    struct credits_uuid lot_id;
    // How many of its credits; all of them where none is given.
    int64_t amount;
    // Why, up to 255 bytes.
    const char *reason;
    // CREDITS_SHORTFALL_*.
    int32_t shortfall;
    // Zero.
    int32_t reserved;
    // Makes repeating it safe.
    const char *idempotency_key;
    // By whom, up to 255 bytes.
    const char *operator_name;
} credits_clawback_options;

// What a clawback found.
typedef struct credits_clawed_back {
    // The account.
    struct credits_uuid user_id;
    // The lot.
    struct credits_uuid lot_id;
    // The entry's number.
    int64_t seq;
    // Credits taken back.
    int64_t taken;
    // Credits that were not there any more.
    int64_t shortfall;
    // The part of the shortfall that was booked as debt.
    int64_t debt;
    // `available` afterwards.
    int64_t available;
    // When.
    int64_t created_at;
} credits_clawed_back;

// What a sweep wrote down.
typedef struct credits_matured {
    // Holds that expired.
    uint64_t holds;
    // Credits of those that are back.
    int64_t released;
    // Lots that expired.
    uint64_t lots;
    // Credits that expired with them.
    int64_t expired;
} credits_matured;

// A public key of WeChat Pay's by its name.
typedef struct credits_public_key {
    // Such as "PUB_KEY_ID_0119000001092024".
    const char *id;
    // The key, as PEM.
    const char *pem;
} credits_public_key;

// WeChat Pay (APIv3), as the channel "wechat". Set it to CREDITS_WECHAT_INIT first; NULL means not given.
//
// Keys and certificates are the text of their files, in PEM. They are copied, and never shown or logged.
typedef struct credits_wechat_options {
    // sizeof(credits_wechat_options).
    size_t size;
    // The merchant (mchid).
    const char *merchant_id;
    // The app that is bound to it (appid).
    const char *app_id;
    // The APIv3 key, 32 characters.
    const char *api_v3_key;
    // The serial number of the merchant's certificate.
    const char *merchant_serial;
    // The private key of that certificate: apiclient_key.pem.
    const char *merchant_key;
    // WeChat Pay's own keys. Either these, or `certificates`, or both while a merchant moves from the ones to the others.
    const struct credits_public_key *public_keys;
    // How many there are.
    size_t public_keys_count;
    // Platform certificates, for merchants that have these; each says its serial number itself.
    const char *const *certificates;
    // How many there are.
    size_t certificates_count;
    // Where WeChat Pay shall tell of payments: https, without a query.
    const char *notify_url;
    // Where it shall tell of refunds; `notify_url` without.
    const char *refund_notify_url;
    // Another address of WeChat Pay, for tests.
    const char *base_url;
    // How long the ledger waits for an answer: 1 ms to 10 min; 30 s without. A single request ends after 15 s.
    int64_t patience;
    // How many orders a reconciliation asks about side by side: 1 to 100; 8 without.
    uint32_t questions_at_once;
} credits_wechat_options;

// Alipay, as the channel "alipay". Set it to CREDITS_ALIPAY_INIT first; NULL means not given.
//
// Keys and certificates are the text of their files. They are copied, and never shown or logged.
typedef struct credits_alipay_options {
    // sizeof(credits_alipay_options).
    size_t size;
    // The app.
    const char *app_id;
    // Its private key, as PEM or bare base64.
    const char *app_private_key;
    // Alipay's public key for this app, which is not the app's own. Either this, or the three certificates.
    const char *alipay_public_key;
    // In certificate mode: appCertPublicKey_*.crt.
    const char *app_certificate;
    // alipayCertPublicKey_RSA2.crt.
    const char *alipay_certificate;
    // alipayRootCert.crt.
    const char *root_certificate;
    // The seller ("PID"): notifications for others are refused. Any seller without.
    const char *seller_id;
    // Where Alipay shall tell of payments: https, without a query.
    const char *notify_url;
    // Another address of Alipay's, such as the sandbox's.
    const char *gateway;
    // "QR_CODE_OFFLINE" (the default) or "FACE_TO_FACE_PAYMENT", as the contract says.
    const char *qr_product_code;
    // How long the ledger waits for an answer: 1 ms to 10 min; 30 s without. A single request ends after 15 s.
    int64_t patience;
    // How many orders a reconciliation asks about side by side: 1 to 100; 8 without.
    uint32_t questions_at_once;
} credits_alipay_options;

// How a ledger is opened. Set it to CREDITS_SETTINGS_INIT first; zero and NULL mean the default. Durations are in
// microseconds.
typedef struct credits_settings {
    // sizeof(credits_settings).
    size_t size;
    // The PostgreSQL schema of the tables; the connection's default without.
    const char *schema;
    // A clock of your own; the system's without.
    const struct credits_clock *clock;
    // How long a hold lives where neither the call nor the feature's rate card says: 1 s to 30 d, 1 h by default.
    int64_t hold_ttl;
    // CREDITS_EXPIRED_LOTS_EXPIRE or CREDITS_EXPIRED_LOTS_GRACE.
    int32_t on_lot_expired_while_held;
    // Whether a pooler in transaction mode (PgBouncer) stands before PostgreSQL: 1 or 0.
    int32_t pgbouncer;
    // How long credits of an expired lot live that come back with CREDITS_EXPIRED_LOTS_GRACE: 7 d by default.
    int64_t release_grace;
    // How long reversed credits live whose lot has expired: 30 d by default.
    int64_t reversal_grace;
    // Connections for reads: 8 by default. Commands have their own.
    uint32_t max_connections;
    // Connections for commands on PostgreSQL: 2 by default.
    uint32_t committers;
    // The most commands in one write: 1,000 by default.
    uint32_t batch_limit;
    // The most commands that wait; further callers wait to be let in. 10,000 by default.
    uint32_t queue_limit;
    // How long a database that is away is tried again before calls fail: 10 s by default.
    int64_t patience;
    // How long to wait for a connection, and for another process that writes a SQLite file: 5 s by default.
    int64_t connect_timeout;
    // The channel "wechat"; NULL for none. Every ledger has the channel "manual".
    const struct credits_wechat_options *wechat;
    // The channel "alipay"; NULL for none.
    const struct credits_alipay_options *alipay;
    // How long an order can be paid: 1 min to 15 d, 30 min by default.
    int64_t order_ttl;
    // CREDITS_LATE_PAYMENT_SETTLE or CREDITS_LATE_PAYMENT_REFUND.
    int32_t late_payment;
    // How many orders of an account may wait for a payment at once: 20 by default, 1,000 at the most.
    uint32_t max_open_orders;
    // How much memory, in bytes, the ledger has to keep accounts in from one command to the next: 32 MiB by default; less
    // than 0 keeps none. A command of a kept account needs no read. No answer depends on it.
    int64_t account_memory;
    // A cache for credits_get_balance(): "process", or the URL of a Redis or Valkey ("redis://host:6379/0", "rediss://");
    // NULL for none. No command asks it. docs/cache.md.
    const char *cache;
    // What its keys in Redis begin with: the same in all processes of this ledger, another one for every other ledger.
    const char *cache_prefix;
    // How long a balance is told after it was read or written, at the most: 1 s by default in the process, 30 s in Redis.
    int64_t cache_max_age;
    // How long a call waits for Redis, before the database answers: 20 ms by default.
    int64_t cache_timeout;
    // How many accounts are remembered with "process": 100,000 by default.
    uint64_t cache_accounts;
    // How far the database's clock may be from the process's, before or behind: 1 s to 3,650 d, 5 min by default; with a
    // clock of your own none, unless it is set. Beyond it no command is done. docs/clocks.md.
    int64_t max_clock_skew;
} credits_settings;

// The holds of all accounts that wait for their job's end.
typedef struct credits_pending {
    // How many are live.
    uint64_t holds;
    // The credits in them.
    int64_t credits;
    // How many more have passed their deadline, and nobody has written that down yet.
    uint64_t overdue;
} credits_pending;

// What is called with each record, from any of the library's threads, possibly several at once. `target` is the part of
// the library. The texts are valid until it returns. It must not call the library.
typedef void (*credits_logger)(int32_t level, const char *target, const char *message, void *context);

// What somebody buys. Set it to CREDITS_CREATE_ORDER_INIT first.
typedef struct credits_create_order_options {
    // sizeof(credits_create_order_options).
    size_t size;
    // Who gets the credits.
    struct credits_uuid user_id;
    // The package.
    struct credits_uuid package_id;
    // Through which payment channel: "wechat" or "alipay", where the ledger was opened with it, or "manual".
    const char *channel;
    // Makes repeating it safe: the same key gives the first order again, as it was then. NULL for none.
    const char *idempotency_key;
} credits_create_order_options;

// A purchase of a package. What it costs and brings is frozen.
typedef struct credits_order {
    // Who gets the credits.
    struct credits_uuid user_id;
    // The package.
    struct credits_uuid package_id;
    // The lot of the credits that were paid for; all zeros before that.
    struct credits_uuid lot_id;
    // The lot of the credits on top; all zeros where there is none.
    struct credits_uuid bonus_lot_id;
    // The package's version.
    int64_t package_version;
    // Credits that are paid for.
    int64_t credits;
    // Credits on top.
    int64_t bonus_credits;
    // How many days these live from the day they are granted on; 0 for ever.
    uint32_t validity_days;
    // CREDITS_ORDER_*.
    int32_t status;
    // How many refunds it has: credits_order_refunds().
    uint32_t refunds;
    // ISO 4217 code.
    char currency[4];
    // When it was made.
    int64_t created_at;
    // Until when it should be paid.
    int64_t expires_at;
    // When it was paid, as the channel says; 0 where it was not, or the channel does not say.
    int64_t paid_at;
    // When it was closed; 0 where it never was.
    int64_t closed_at;
    // 32 hexadecimal digits: what the channel, the payer and support know it by.
    char order_no[CREDITS_ORDER_NO_TEXT];
    // The name of the payment channel.
    char channel[CREDITS_NAME_TEXT];
    // What it costs, with two decimals, such as "9.90".
    char price[CREDITS_NUMBER_TEXT];
    // Money that is back, or on its way back, with two decimals.
    char refunded[CREDITS_NUMBER_TEXT];
    // The package's name: what the payer sees.
    char subject[CREDITS_TEXT];
    // The channel's own name for the payment; "" before that.
    char transaction_id[CREDITS_TEXT];
} credits_order;

// How an order is going to be paid. Set it to CREDITS_PAY_ORDER_INIT first; NULL means not given.
typedef struct credits_pay_order_options {
    // sizeof(credits_pay_order_options).
    size_t size;
    // The order.
    const char *order_no;
    // In which way: "native" (the default), "jsapi" or "h5" for WeChat Pay, "page" (the default) or "qr" for Alipay.
    const char *method;
    // The payer as the channel knows him, such as the openid of WeChat Pay's JSAPI.
    const char *payer;
    // The payer's IP address, which WeChat Pay's H5 wants.
    const char *payer_ip;
    // Where the payer's browser goes afterwards.
    const char *return_url;
} credits_pay_order_options;

// What the payer's side needs to pay.
typedef struct credits_payment_request {
    // Until when it is good; 0 where the channel does not say.
    int64_t expires_at;
    // What it is, as the channel calls it: "code_url" and "qr_code" are for a QR code, "h5_url" and "url" for a browser,
    // "reference" (of "manual") is for people. "" where the payer needs several parameters, as with "jsapi", or more than
    // fits here: they are in the JSON.
    char name[CREDITS_NAME_TEXT];
    // The parameter of that name.
    char value[CREDITS_LINK_TEXT];
} credits_payment_request;

// Money of an order that goes back.
typedef struct credits_order_refund {
    // CREDITS_ORDER_REFUND_*.
    int32_t status;
    // Zero.
    int32_t reserved;
    // Credits taken back for it.
    int64_t taken;
    // Credits that were spent already: forgiven, or booked as debt.
    int64_t shortfall;
    // When it was asked for.
    int64_t created_at;
    // When it succeeded or failed; 0 before that.
    int64_t settled_at;
    // What the channel knows it by.
    char refund_no[CREDITS_ORDER_NO_TEXT];
    // How much, in the order's currency, with two decimals.
    char amount[CREDITS_NUMBER_TEXT];
    // Why.
    char reason[CREDITS_TEXT];
    // Who asked for it.
    char operator_name[CREDITS_TEXT];
    // The channel's own name for it.
    char channel_id[CREDITS_TEXT];
    // What the channel has to say, where it did not just succeed.
    char problem[CREDITS_TEXT];
} credits_order_refund;

// Which lines of a list. Set it to CREDITS_PAGE_INIT first; zero and NULL mean all.
typedef struct credits_page_options {
    // sizeof(credits_page_options).
    size_t size;
    // Of transactions: only of this kind, CREDITS_KIND_*.
    int32_t kind;
    // Of consumptions and orders: only those that stand like this now, CREDITS_PENDING and so on, or CREDITS_ORDER_*.
    int32_t status;
    // Of transactions: from this time on.
    int64_t since;
    // Of transactions: before this time.
    int64_t until;
    // The page before's next cursor; NULL or "" for the first page.
    const char *cursor;
} credits_page_options;

// A header of an HTTP request.
typedef struct credits_header {
    // Such as "Wechatpay-Signature", in any case.
    const char *name;
    // Its value.
    const char *value;
} credits_header;

// What became of a channel's notification.
typedef struct credits_notification {
    // CREDITS_NOTIFICATION_*.
    int32_t event;
    // Whether it is about an order: 1 or 0.
    int32_t has_order;
    // The order as it stands now; all zeros where it is about none.
    struct credits_order order;
} credits_notification;

// What to answer to a channel's notification.
typedef struct credits_reply {
    // The HTTP status.
    int32_t status;
    // Zero.
    int32_t reserved;
    // The type of the body.
    char content_type[CREDITS_NAME_TEXT];
    // The body.
    char body[CREDITS_TEXT];
} credits_reply;

// A payment that somebody has seen. Set it to CREDITS_SETTLE_ORDER_INIT first; zero and NULL mean not given.
typedef struct credits_settle_order_options {
    // sizeof(credits_settle_order_options).
    size_t size;
    // The order.
    const char *order_no;
    // What names the payment, up to 255 bytes. Another one for a settled order is refused.
    const char *transaction_id;
    // What was paid; it has to be the order's price.
    const char *amount;
    // ISO 4217 code; NULL for "CNY".
    const char *currency;
    // When it was paid.
    int64_t paid_at;
} credits_settle_order_options;

// Money of an order that is to go back. Set it to CREDITS_REFUND_ORDER_INIT first; zero and NULL mean not given.
typedef struct credits_refund_order_options {
    // sizeof(credits_refund_order_options).
    size_t size;
    // The order.
    const char *order_no;
    // How much, in the order's currency; all that has not gone back yet without.
    const char *amount;
    // About credits that are spent: CREDITS_SHORTFALL_*.
    int32_t shortfall;
    // Zero.
    int32_t reserved;
    // Why, up to 255 bytes.
    const char *reason;
    // Who asks for it.
    const char *operator_name;
    // Makes repeating it safe. Further parts of an order need one each.
    const char *idempotency_key;
} credits_refund_order_options;

// What a reconciliation of orders did.
typedef struct credits_reconciled {
    // Orders that were looked at.
    uint64_t orders;
    // Orders found paid, and settled.
    uint64_t settled;
    // Orders closed, because their time is over and nobody has paid.
    uint64_t closed;
    // Refunds that were found to have ended.
    uint64_t refunds;
    // Orders about which something went wrong; they are looked at again next time.
    uint64_t failed;
} credits_reconciled;

// What a channel's bill and the books say.
typedef struct credits_statement_report {
    // Lines of the bill that are as the books say.
    uint64_t matched;
    // Differences found: 0 where everything fits.
    uint64_t differences;
} credits_statement_report;

// Something to be priced. Set it to CREDITS_USAGE_INIT first; zero and NULL mean not given.
typedef struct credits_usage {
    // sizeof(credits_usage).
    size_t size;
    // What it is.
    const char *feature;
    // How much of it, a decimal number such as "12.5"; "1" where neither this nor `quantities` is given.
    const char *quantity;
    // Where the card meters several quantities: each by its name.
    const struct credits_number *quantities;
    // How many there are.
    size_t quantities_count;
    // What the card wants to know besides.
    const struct credits_attribute *attributes;
    // How many there are.
    size_t attributes_count;
    // The account, for cards of its own.
    struct credits_uuid user_id;
    // At the prices of which time; now without.
    int64_t at;
} credits_usage;

// What something costs.
typedef struct credits_quote {
    // In whole credits: what credits_consume() would hold.
    int64_t credits;
    // The rate card's version that priced it; 0 where it has none.
    int64_t version;
    // Its id; all zeros where it has none.
    struct credits_uuid pricing_id;
    // Before rounding, as a decimal number.
    char exact[CREDITS_NUMBER_TEXT];
} credits_quote;

// A package of credits that can be bought, or could be.
typedef struct credits_package {
    // Its id, for ever.
    struct credits_uuid id;
    // 1, 2, 3 ... with every change.
    int64_t version;
    // Credits that are bought.
    int64_t credits;
    // Credits on top.
    int64_t bonus_credits;
    // How many days the credits live; 0 for ever.
    uint32_t validity_days;
    // How often one account can buy it; 0 as often as it likes.
    uint32_t purchase_limit;
    // Lower stands first.
    int32_t sort_order;
    // Whether shops should point it out: 1 or 0.
    int32_t recommended;
    // Whether it can be bought: 1 or 0.
    int32_t active;
    // Zero.
    int32_t reserved;
    // When it was first saved.
    int64_t created_at;
    // When this version was saved.
    int64_t updated_at;
    // ISO 4217 code, such as "CNY".
    char currency[4];
    // What it costs, with two decimals at least, such as "9.90".
    char price[CREDITS_NUMBER_TEXT];
    // What people call it.
    char name[CREDITS_TEXT];
} credits_package;

// A package to save: a new one, or all of an old one anew. Set it to CREDITS_SAVE_PACKAGE_INIT first.
typedef struct credits_save_package_options {
    // sizeof(credits_save_package_options).
    size_t size;
    // Which one to change; all zeros for a new one.
    struct credits_uuid package_id;
    // What people call it, up to 255 bytes.
    const char *name;
    // More about it; NULL for nothing.
    const char *description;
    // A decimal number with two decimals at the most, such as "9.90".
    const char *price;
    // ISO 4217 code; NULL for "CNY".
    const char *currency;
    // Credits that are bought.
    int64_t credits;
    // Credits on top.
    int64_t bonus_credits;
    // How many days the credits live; 0 for ever.
    uint32_t validity_days;
    // How often one account can buy it; 0 as often as it likes.
    uint32_t purchase_limit;
    // Lower stands first.
    int32_t sort_order;
    // Whether shops should point it out: 1 or 0.
    int32_t recommended;
    // Whether it can't be bought any more: 1 or 0.
    int32_t inactive;
    // Zero.
    int32_t reserved;
} credits_save_package_options;

// What an account has. Times are microseconds since 1970 UTC.
typedef struct credits_balance {
    // Whose it is.
    struct credits_uuid user_id;
    // Credits that can be spent now, without the credit limit; below zero where the account is in debt.
    int64_t available;
    // Credits in live holds.
    int64_t held;
    // Credits owed.
    int64_t debt;
    // How far below zero credits_consume() may go.
    int64_t credit_limit;
    // Credits granted in the account's life.
    int64_t granted;
    // Credits spent in the account's life, reversals taken off.
    int64_t spent;
    // Credits that will expire next, and when; 0 where none will. Of the hundred lots that expire first: where more expire
    // together, it is less than all of them.
    int64_t next_expiring;
    // See `next_expiring`.
    int64_t next_expires_at;
    // The number of the last entry that this includes. Where a deadline has passed and its entry is not written yet, it is
    // the number that this entry will have: a later balance never has a smaller number.
    int64_t seq;
    // When this was so.
    int64_t at;
} credits_balance;

// One entry of an account's journal.
typedef struct credits_transaction {
    // Whose it is.
    struct credits_uuid user_id;
    // The consumption it is about; all zeros where it is about none.
    struct credits_uuid consumption_id;
    // The lot it is about; all zeros where it is about none.
    struct credits_uuid lot_id;
    // Its number: 1, 2, 3 ... without gaps.
    int64_t seq;
    // CREDITS_KIND_*.
    int32_t kind;
    // Zero.
    int32_t reserved;
    // Change of `available`.
    int64_t change;
    // Change of `held`.
    int64_t held_change;
    // `available` afterwards.
    int64_t available;
    // `held` afterwards.
    int64_t held;
    // When.
    int64_t created_at;
    // SHA-256 that chains it to the entry before.
    uint8_t hash[32];
    // Where the credits came from or went to, such as "issued.purchase".
    char counter_account[CREDITS_ACCOUNT_TEXT];
    // The caller's own name for it.
    char reference[CREDITS_TEXT];
    // The key it was done with.
    char idempotency_key[CREDITS_TEXT];
    // Of the entry that made a hold: what it is for.
    char feature[CREDITS_TEXT];
    // Why.
    char reason[CREDITS_TEXT];
    // By whom.
    char operator_name[CREDITS_TEXT];
} credits_transaction;

// What an audit found.
typedef struct credits_verification {
    // Accounts audited.
    uint64_t accounts;
    // Entries audited.
    uint64_t entries;
    // Lots audited.
    uint64_t lots;
    // Consumptions audited.
    uint64_t consumptions;
    // Orders audited.
    uint64_t orders;
    // Faults found: 0 where everything fits.
    uint64_t faults;
} credits_verification;

// The sums over all accounts. Together with those of the counter-accounts they are zero.
typedef struct credits_sums {
    // Sum of all `available`; the largest or smallest number there is where it is beyond that.
    int64_t available;
    // Sum of all `held`; likewise.
    int64_t held;
    // Whether everything adds up to zero: 1 or 0.
    int32_t is_balanced;
    // Zero.
    int32_t reserved;
} credits_sums;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library that is running, as CREDITS_VERSION_NUMBER is of the header. A program that was compiled with
// another minor version should refuse to go on.
uint32_t credits_version_number(void);

// The version of the library that is running, such as "0.1.0". Never NULL; not to be freed.
const char *credits_version(void);

// Makes a clock that shows `start`, in microseconds since 1970 UTC.
struct credits_clock *credits_clock_new(int64_t start);

// Frees a clock. NULL is allowed.
void credits_clock_free(struct credits_clock *clock);

// What a clock shows.
credits_code credits_clock_now(const struct credits_clock *clock, int64_t *now, struct credits_error **error);

// Moves a clock forward by so many microseconds.
credits_code credits_clock_advance(const struct credits_clock *clock, int64_t by, struct credits_error **error);

// Sets a clock, to any time.
credits_code credits_clock_set(const struct credits_clock *clock, int64_t to, struct credits_error **error);

// Holds credits for a job that is about to begin.
//
// @param held  NULL, or a place for the hold.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND (no rate card),
//         CREDITS_INSUFFICIENT_CREDITS, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_consume(const struct credits_ledger *ledger,
                             const struct credits_consume_options *options,
                             struct credits_consumption *held,
                             struct credits_error **error);

// Holds credits for many jobs, up to 1,000. Each is accepted or refused on its own.
//
// @param options   An array of them, all of the same size: it is walked by the size that the first one says.
// @param count     How many.
// @param outcomes  As many places, in the same order.
// @return CREDITS_OK where every item has an outcome, whatever it is; CREDITS_VALIDATION, CREDITS_FORKED: none has.
credits_code credits_consume_many(const struct credits_ledger *ledger,
                                  const struct credits_consume_options *options,
                                  size_t count,
                                  struct credits_outcome *outcomes,
                                  struct credits_error **error);

// Spends what a hold keeps, or what was really used; the rest goes back.
//
// @param done  NULL, or a place for how the consumption stands then.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND, CREDITS_INVALID_STATE,
//         CREDITS_HOLD_EXPIRED, CREDITS_INSUFFICIENT_CREDITS, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_confirm(const struct credits_ledger *ledger,
                             const struct credits_confirm_options *options,
                             struct credits_consumption *done,
                             struct credits_error **error);

// Gives credits back: of a hold all, of a confirmed consumption all or a part, of an expired one nothing.
//
// @param done  NULL, or a place for how the consumption stands then.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND, CREDITS_INVALID_STATE,
//         CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_refund(const struct credits_ledger *ledger,
                            const struct credits_refund_options *options,
                            struct credits_consumption *done,
                            struct credits_error **error);

// Gives a hold more time, never less.
//
// @param ttl              From now on, in microseconds: 1 s to 30 d.
// @param idempotency_key  NULL, or what makes repeating it safe.
// @param done             NULL, or a place for how the consumption stands then.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND, CREDITS_INVALID_STATE,
//         CREDITS_HOLD_EXPIRED, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_extend(const struct credits_ledger *ledger,
                            struct credits_uuid consumption_id,
                            int64_t ttl,
                            const char *idempotency_key,
                            struct credits_consumption *done,
                            struct credits_error **error);

// Grants credits.
//
// @param receipt  NULL, or a place for what was done.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_grant(const struct credits_ledger *ledger,
                           const struct credits_grant_options *options,
                           struct credits_receipt *receipt,
                           struct credits_error **error);

// Gives credits away, and writes it into the register of gifts.
//
// @param receipt  NULL, or a place for what was done.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_gift(const struct credits_ledger *ledger,
                          const struct credits_gift_options *options,
                          struct credits_receipt *receipt,
                          struct credits_error **error);

// Corrects a balance.
//
// @param receipt  NULL, or a place for what was done.
// @return CREDITS_OK, CREDITS_VALIDATION (also `expires_at`), CREDITS_IDEMPOTENCY_CONFLICT,
//         CREDITS_INSUFFICIENT_CREDITS, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_adjust(const struct credits_ledger *ledger,
                            const struct credits_gift_options *options,
                            struct credits_receipt *receipt,
                            struct credits_error **error);

// Sets how far below zero credits_consume() may take a balance.
//
// @param credit_limit     0 or more.
// @param idempotency_key  NULL, or what makes repeating it safe.
// @param receipt          NULL, or a place for what was done.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_set_credit_limit(const struct credits_ledger *ledger,
                                      struct credits_uuid user_id,
                                      int64_t credit_limit,
                                      const char *idempotency_key,
                                      struct credits_receipt *receipt,
                                      struct credits_error **error);

// Takes granted credits back.
//
// @param done  NULL, or a place for what was found.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE,
//         CREDITS_UNKNOWN_OUTCOME.
credits_code credits_clawback(const struct credits_ledger *ledger,
                              const struct credits_clawback_options *options,
                              struct credits_clawed_back *done,
                              struct credits_error **error);

// Writes down the holds that have expired. Nothing depends on when it runs; safe from several processes at once.
//
// @param limit  After at least so many it stops; 0 for all.
// @param done   NULL, or a place for the counts.
// @return CREDITS_OK, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_expire_pending(const struct credits_ledger *ledger,
                                    uint64_t limit,
                                    struct credits_matured *done,
                                    struct credits_error **error);

// Writes down the lots that have expired: as credits_expire_pending().
credits_code credits_expire_lots(const struct credits_ledger *ledger,
                                 uint64_t limit,
                                 struct credits_matured *done,
                                 struct credits_error **error);

// Frees an error. NULL is allowed.
void credits_error_free(struct credits_error *error);

// The error's number; CREDITS_OK for NULL.
credits_code credits_error_code(const struct credits_error *error);

// What is wrong and what to do, for people; "" for NULL. It belongs to the error.
const char *credits_error_message(const struct credits_error *error);

// The facts as a JSON object, such as {"required":75,"available":60}; "{}" for NULL. It belongs to the error.
const char *credits_error_facts(const struct credits_error *error);

// Of CREDITS_INSUFFICIENT_CREDITS: the credits that the call needs; 0 else.
int64_t credits_error_required(const struct credits_error *error);

// Of CREDITS_INSUFFICIENT_CREDITS: the credits that can be spent, the credit limit included; 0 else.
int64_t credits_error_available(const struct credits_error *error);

// A code's stable word, such as "insufficient_credits"; "" for a number that is none. Never NULL; not to be freed.
const char *credits_code_name(credits_code code);

// Opens a ledger. Its tables need not be there yet: credits_migrate().
//
// @param url       "sqlite:///path/to/credits.db", "sqlite::memory:", or "postgresql://user@host/database".
// @param settings  NULL for the defaults.
// @param opened    The ledger; close it with credits_close().
// @param error     NULL, or a place for what went wrong; free it with credits_error_free(). So for every call below.
// @return CREDITS_OK, CREDITS_VALIDATION (the url, a setting, a channel's: the facts name the `channel`),
//         CREDITS_UNAVAILABLE.
credits_code credits_open(const char *url,
                          const struct credits_settings *settings,
                          struct credits_ledger **opened,
                          struct credits_error **error);

// Takes no more commands, waits until those under way are answered, and frees the ledger. NULL is allowed. No other call
// may be under way or follow. In a child that was forked it does nothing.
void credits_close(struct credits_ledger *ledger);

// Makes the tables, or brings them up to date. Safe to repeat, and from several processes at once.
//
// @return CREDITS_OK, CREDITS_UNAVAILABLE (the database can't be changed, or is newer than this library).
credits_code credits_migrate(const struct credits_ledger *ledger, struct credits_error **error);

// Checks that the tables are there and of this library's version.
//
// @return CREDITS_OK, CREDITS_UNAVAILABLE: they are not, or the database is away.
credits_code credits_check(const struct credits_ledger *ledger, struct credits_error **error);

// Installs the packages and rate cards that the library comes with, where they are not there yet.
//
// @return CREDITS_OK, CREDITS_UNAVAILABLE.
credits_code credits_seed_catalog(const struct credits_ledger *ledger, struct credits_error **error);

// Gets ready for fork(): waits up to `timeout` microseconds until no connection to a SQLite file is in use, and closes
// them. Other threads' calls wait until credits_after_fork().
//
// @param ready  NULL, or a place for 1: everything was closed in time, or 0: a child can't open the file.
credits_code credits_before_fork(const struct credits_ledger *ledger,
                                 int64_t timeout,
                                 int32_t *ready,
                                 struct credits_error **error);

// Goes on after fork(), in the parent.
credits_code credits_after_fork(const struct credits_ledger *ledger, struct credits_error **error);

// Looks at the database: version, round trip, clock, and what should be put right.
//
// @param found  JSON: {"database", "round_trip_us", "clock_skew_us", "problems": [{"what", "remedy"}]}; free it with
//               credits_string_free().
credits_code credits_inspect(const struct credits_ledger *ledger, char **found, struct credits_error **error);

// What this process's ledger has done since it was opened: commands by outcome, how long they took, how many shared a
// write. Asks no database.
//
// @param stats  JSON; free it with credits_string_free().
credits_code credits_stats(const struct credits_ledger *ledger, char **stats, struct credits_error **error);

// How many holds wait for their job's end, in the whole database. The cost grows with their number.
credits_code credits_pending_holds(const struct credits_ledger *ledger,
                                   struct credits_pending *pending,
                                   struct credits_error **error);

// Has every record of the library's given to `logger`, for the whole process; NULL ends that. When it returns the logger
// before is not called any more. Without a logger nothing is logged.
//
// @param logger   The function.
// @param context  Passed on to it.
void credits_set_logger(credits_logger logger,
                        void *context);

// Writes down that somebody buys a package. Price and credits are frozen; credits_pay_order() is next.
//
// @param order  A place for it: its `order_no` is what every other call takes.
// @return CREDITS_OK, CREDITS_VALIDATION (also: it is not for sale, or not to this account any more, or the channel takes
//         no such price), CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND (no such package), CREDITS_UNAVAILABLE,
//         CREDITS_UNKNOWN_OUTCOME.
credits_code credits_create_order(const struct credits_ledger *ledger,
                                  const struct credits_create_order_options *options,
                                  struct credits_order *order,
                                  struct credits_error **error);

// Tells the channel of an order and gets what the payer needs. Repeated, it gets that anew; so a payer can change his mind
// about how to pay. Waits for the channel, which is asked over the network (but for "manual", and Alipay's "page").
//
// @param request     NULL, or a place for what the payer scans, opens or is told.
// @param parameters  NULL, or a place for all of it as a JSON object of texts, by the channel's names, such as what
//                    WeixinJSBridge takes; free it with credits_string_free().
// @return CREDITS_OK, CREDITS_VALIDATION (also: what the channel needs), CREDITS_NOT_FOUND, CREDITS_INVALID_STATE (it can't
//         be paid any more), CREDITS_PAYMENT_CHANNEL, CREDITS_PAYMENT_VERIFICATION, CREDITS_UNAVAILABLE,
//         CREDITS_UNKNOWN_OUTCOME.
credits_code credits_pay_order(const struct credits_ledger *ledger,
                               const struct credits_pay_order_options *options,
                               struct credits_payment_request *request,
                               char **parameters,
                               struct credits_error **error);

// One order, as it stands.
//
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
credits_code credits_get_order(const struct credits_ledger *ledger,
                               const char *order_no,
                               struct credits_order *order,
                               struct credits_error **error);

// The refunds of an order, the first one first.
//
// @param items     An array with room for `capacity` of them; NULL where `capacity` is 0.
// @param capacity  How many fit; an order has 50 at the most.
// @param count     How many there are, which may be more than fit: then none is written beyond `capacity`.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
credits_code credits_order_refunds(const struct credits_ledger *ledger,
                                   const char *order_no,
                                   struct credits_order_refund *items,
                                   size_t capacity,
                                   size_t *count,
                                   struct credits_error **error);

// A page of orders, newest first. Cursors stay valid while orders are added.
//
// @param user_id   Only this account's; all zeros for everybody's.
// @param options   NULL for all; `status` is one of CREDITS_ORDER_*, and only `cursor` may be given besides.
// @param items     An array with room for `capacity` of them.
// @param capacity  1 to 1,000.
// @param count     How many there are.
// @param next      NULL, or room for CREDITS_CURSOR_TEXT bytes: where the next page begins; "" after the last one.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
credits_code credits_orders(const struct credits_ledger *ledger,
                            struct credits_uuid user_id,
                            const struct credits_page_options *options,
                            struct credits_order *items,
                            size_t capacity,
                            size_t *count,
                            char *next,
                            struct credits_error **error);

// Reads what a channel sends, and settles what it says is paid: once, however often it comes. Answer with
// credits_notification_reply(), whatever this returns.
//
// @param channel        Whose notification it is; each channel has a URL of its own.
// @param headers        The request's; those that begin with "Wechatpay-" are enough. NULL where `headers_count` is 0.
// @param headers_count  How many there are.
// @param body           The request's, byte for byte. NULL where `body_length` is 0.
// @param body_length    Its bytes, 256 KiB at the most.
// @param notification   NULL, or a place for what became of it.
// @return CREDITS_OK, CREDITS_VALIDATION (no such channel, text that is no UTF-8), CREDITS_PAYMENT_VERIFICATION (it is not
//         genuine, or not about what was sold), CREDITS_NOT_FOUND (the order is not one of ours), CREDITS_INVALID_STATE,
//         CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME (the channel will send it again).
credits_code credits_handle_notification(const struct credits_ledger *ledger,
                                         const char *channel,
                                         const struct credits_header *headers,
                                         size_t headers_count,
                                         const void *body,
                                         size_t body_length,
                                         struct credits_notification *notification,
                                         struct credits_error **error);

// What to answer to a channel's notification.
//
// @param taken  1 where credits_handle_notification() gave CREDITS_OK; 0: the channel shall send it again.
// @return CREDITS_OK, CREDITS_VALIDATION.
credits_code credits_notification_reply(const struct credits_ledger *ledger,
                                        const char *channel,
                                        int32_t taken,
                                        struct credits_reply *reply,
                                        struct credits_error **error);

// Settles an order by hand: for the channel "manual", and for operators who see the money. May be repeated.
//
// @param settled  NULL, or a place for the order as it stands then.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_PAYMENT_VERIFICATION (amount, currency or transaction are
//         not the order's), CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_settle_order(const struct credits_ledger *ledger,
                                  const struct credits_settle_order_options *options,
                                  struct credits_order *settled,
                                  struct credits_error **error);

// Makes sure that nobody can pay an order any more. Waits for the channel, where that knows of the order.
//
// @param closed  NULL, or a place for the order as it stands then: one that was paid meanwhile is settled.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_INVALID_STATE (it was paid), CREDITS_PAYMENT_CHANNEL,
//         CREDITS_PAYMENT_VERIFICATION, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_close_order(const struct credits_ledger *ledger,
                                 const char *order_no,
                                 struct credits_order *closed,
                                 struct credits_error **error);

// Sends money of an order back, and takes back the credits that it bought, in proportion. Waits for the channel; what that
// has not ended yet is CREDITS_ORDER_REFUNDING, and credits_reconcile_orders() follows it up.
//
// @param refunded  NULL, or a place for the order as it stands then.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND, CREDITS_INVALID_STATE (it was not
//         paid, or all of it went back), CREDITS_PAYMENT_CHANNEL (it refuses; the credits are back), CREDITS_UNAVAILABLE,
//         CREDITS_UNKNOWN_OUTCOME.
credits_code credits_refund_order(const struct credits_ledger *ledger,
                                  const struct credits_refund_order_options *options,
                                  struct credits_order *refunded,
                                  struct credits_error **error);

// Asks the channels about every order that waits: settles the paid ones whose notification never came, closes those whose
// time is over, follows up refunds. Run it every few minutes, from as many processes as you like.
//
// @param min_age   Younger orders are left alone, since their notification may be on its way: a minute is good. 0 for all.
// @param done      NULL, or a place for the counts.
// @param problems  NULL, or a place for the first hundred orders about which something went wrong, as JSON: [{"order_no",
//                  "error": {"code", "message", "facts"}}]; free it with credits_string_free().
// @return CREDITS_OK, whatever went wrong about single orders; CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
credits_code credits_reconcile_orders(const struct credits_ledger *ledger,
                                      int64_t min_age,
                                      struct credits_reconciled *done,
                                      char **problems,
                                      struct credits_error **error);

// Compares a channel's bill with the books. Changes nothing.
//
// @param bill         The file, as the channel publishes it, unpacked.
// @param bill_length  Its bytes.
// @param since        The time that the bill is of begins here,
// @param until        and ends before this.
// @param report       NULL, or a place for the counts.
// @param differences  NULL, or a place for what does not fit, as JSON: [{"kind", "line", "order", "refund_no"}]; free it
//                     with credits_string_free(). `kind` is "unknown" (the bill has it, and the books don't know the order
//                     or the refund), "not_settled" (the books have the order, and not as paid), "different" (with another
//                     amount or transaction, or not as a refund that has succeeded), "missing_payment" or "missing_refund"
//                     (the books have it, and the bill does not).
// @return CREDITS_OK, CREDITS_VALIDATION (also: it is no bill of this channel's; the message names the line),
//         CREDITS_UNAVAILABLE.
credits_code credits_reconcile_statement(const struct credits_ledger *ledger,
                                         const char *channel,
                                         const void *bill,
                                         size_t bill_length,
                                         int64_t since,
                                         int64_t until,
                                         struct credits_statement_report *report,
                                         char **differences,
                                         struct credits_error **error);

// What something would cost. Changes nothing.
//
// @param quote  What it costs.
// @param lines  NULL, or a place for how that comes about, as JSON: [{"text", "amount"}]; free it with
//               credits_string_free().
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND (no rate card), CREDITS_UNAVAILABLE.
credits_code credits_calculate(const struct credits_ledger *ledger,
                               const struct credits_usage *asked,
                               struct credits_quote *quote,
                               char **lines,
                               struct credits_error **error);

// Why a consumption cost what it did, and what paid for it.
//
// @param explanation  JSON: {"consumption_id", "held", "charged", "lots"}; free it with credits_string_free().
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
credits_code credits_explain(const struct credits_ledger *ledger,
                             struct credits_uuid consumption_id,
                             char **explanation,
                             struct credits_error **error);

// The packages, as shops show them.
//
// @param items     An array with room for `capacity` of them; NULL where `capacity` is 0.
// @param capacity  How many fit.
// @param count     How many there are, which may be more than fit: then none is written beyond `capacity`.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
credits_code credits_packages(const struct credits_ledger *ledger,
                              struct credits_package *items,
                              size_t capacity,
                              size_t *count,
                              struct credits_error **error);

// One package, also where it can't be bought any more.
//
// @param package      A place for it.
// @param description  NULL, or a place for its description; free it with credits_string_free().
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
credits_code credits_get_package(const struct credits_ledger *ledger,
                                 struct credits_uuid package_id,
                                 struct credits_package *package,
                                 char **description,
                                 struct credits_error **error);

// Saves a package as a new version.
//
// @param saved  NULL, or a place for it.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_save_package(const struct credits_ledger *ledger,
                                  const struct credits_save_package_options *options,
                                  struct credits_package *saved,
                                  struct credits_error **error);

// Every version of a feature's rate card, or of all features', by feature and version.
//
// @param feature  NULL for all.
// @param cards    JSON: [{"id", "feature", "version", "user_id", "effective_from", "effective_until", "card"}]; free it
//                 with credits_string_free().
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
credits_code credits_pricing(const struct credits_ledger *ledger,
                             const char *feature,
                             char **cards,
                             struct credits_error **error);

// Adds a version of a feature's rate card.
//
// @param card             JSON, in the form of docs/rate-cards.md; it names the feature.
// @param user_id          The account it is for; all zeros for everybody.
// @param effective_from   From when it counts; 0 for now.
// @param effective_until  Until when; 0 as long as no later one counts.
// @param version          NULL, or a place for its number.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
credits_code credits_set_pricing(const struct credits_ledger *ledger,
                                 const char *card,
                                 struct credits_uuid user_id,
                                 int64_t effective_from,
                                 int64_t effective_until,
                                 int64_t *version,
                                 struct credits_error **error);

// What an account has. One that was never used has nothing. With a cache the answer may come from there.
//
// @param at  As of which time, in microseconds since 1970 UTC; 0 for now.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
credits_code credits_get_balance(const struct credits_ledger *ledger,
                                 struct credits_uuid user_id,
                                 int64_t at,
                                 struct credits_balance *balance,
                                 struct credits_error **error);

// What an account has now, from the database, whatever a cache says; what it finds is cached from then on.
//
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
credits_code credits_get_fresh_balance(const struct credits_ledger *ledger,
                                       struct credits_uuid user_id,
                                       struct credits_balance *balance,
                                       struct credits_error **error);

// A page of an account's journal, newest first. Cursors stay valid while entries are added.
//
// @param options   NULL for everything.
// @param items     An array with room for `capacity` of them.
// @param capacity  1 to 1,000.
// @param count     How many there are.
// @param next      NULL, or room for CREDITS_CURSOR_TEXT bytes: where the next page begins; "" after the last one.
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
credits_code credits_transactions(const struct credits_ledger *ledger,
                                  struct credits_uuid user_id,
                                  const struct credits_page_options *options,
                                  struct credits_transaction *items,
                                  size_t capacity,
                                  size_t *count,
                                  char *next,
                                  struct credits_error **error);

// A page of an account's consumptions, newest first: as credits_transactions().
credits_code credits_consumptions(const struct credits_ledger *ledger,
                                  struct credits_uuid user_id,
                                  const struct credits_page_options *options,
                                  struct credits_consumption *items,
                                  size_t capacity,
                                  size_t *count,
                                  char *next,
                                  struct credits_error **error);

// One consumption, as it stands now.
//
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
credits_code credits_get_consumption(const struct credits_ledger *ledger,
                                     struct credits_uuid consumption_id,
                                     struct credits_consumption *consumption,
                                     struct credits_error **error);

// The metadata that was given with a consumption.
//
// @param metadata  JSON, "{}" where there is none; free it with credits_string_free().
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
credits_code credits_metadata(const struct credits_ledger *ledger,
                              struct credits_uuid consumption_id,
                              char **metadata,
                              struct credits_error **error);

// Derives every balance, lot, hold, number and hash from the journal again. Faults are no error but the result.
//
// @param faults  NULL, or a place for the first faults as JSON: [{"user_id", "seq", "id", "kind", "detail"}]; free it with
//                credits_string_free().
// @return CREDITS_OK, CREDITS_UNAVAILABLE.
credits_code credits_verify(const struct credits_ledger *ledger,
                            struct credits_verification *verification,
                            char **faults,
                            struct credits_error **error);

// Makes an anchor: a line of text over everything in the books, to be kept where whoever can write to the database can't change
// it. It costs what changed since the last one.
//
// @param key           A private key, PEM: openssl genpkey -algorithm ed25519. It is used and not stored. NULL for an anchor that is
//                      not signed.
// @param all_accounts  1 looks at every account, whether anything seems to have changed or not; 0 for what has.
// @param anchor        The line; free it with credits_string_free().
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE: also where the books do not go on from the last anchor.
credits_code credits_anchor(const struct credits_ledger *ledger,
                            const char *key,
                            int32_t all_accounts,
                            char **anchor,
                            struct credits_error **error);

// credits_verify(), and everything before the anchor is what it was when the anchor was made: nothing is missing from the end of a
// journal, no account is gone, and no chain was written anew.
//
// @param anchor      The line that credits_anchor() gave, from where it was kept.
// @param public_key  Whose anchors are believed: 64 hexadecimal digits, or PEM. NULL for an anchor that is not signed.
// @param faults      As of credits_verify().
// @return CREDITS_OK, CREDITS_VALIDATION where it is no anchor of this ledger, or not signed with that key; CREDITS_UNAVAILABLE.
credits_code credits_verify_anchored(const struct credits_ledger *ledger,
                                     const char *anchor,
                                     const char *public_key,
                                     struct credits_verification *verification,
                                     char **faults,
                                     struct credits_error **error);

// Proves an account's entries, up to the one that was anchored, to somebody who has only the anchor: credits_check_proof().
//
// @param proof  Text; free it with credits_string_free().
// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND where the anchor does not cover the account, CREDITS_UNAVAILABLE.
credits_code credits_prove(const struct credits_ledger *ledger,
                           struct credits_uuid user_id,
                           const char *anchor,
                           char **proof,
                           struct credits_error **error);

// Checks a proof against an anchor: with these texts alone, without a ledger or a database.
//
// @param public_key  As of credits_verify_anchored().
// @param last        NULL, or a place for the account's last entry when the anchor was made.
// @return CREDITS_OK, CREDITS_VALIDATION.
credits_code credits_check_proof(const char *anchor,
                                 const char *proof,
                                 const char *public_key,
                                 struct credits_transaction *last,
                                 struct credits_error **error);

// Sums all accounts and all counter-accounts.
//
// @param counter_accounts  NULL, or a place for their sums as JSON, by name; free it with credits_string_free().
// @return CREDITS_OK, CREDITS_UNAVAILABLE.
credits_code credits_trial_balance(const struct credits_ledger *ledger,
                                   struct credits_sums *sums,
                                   char **counter_accounts,
                                   struct credits_error **error);

// Frees text that a function of this library has given. NULL is allowed.
void credits_string_free(char *text);

// Reads an id such as "0191d8f0-0000-7000-8000-000000000001".
//
// @return CREDITS_OK, CREDITS_VALIDATION.
credits_code credits_uuid_parse(const char *written, struct credits_uuid *id, struct credits_error **error);

// Writes an id with its NUL into `written`, which has room for CREDITS_UUID_TEXT bytes.
credits_code credits_uuid_format(struct credits_uuid id, char *written);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CREDITS_H */

/* What a struct that comes in is set to first. */
#ifdef __cplusplus
template <typename T> inline T credits_init_() {
    T made = T();
    made.size = sizeof(T);
    return made;
}
#define CREDITS_INIT_(type) credits_init_<type>()
#else
#define CREDITS_INIT_(type) { .size = sizeof(type) }
#endif
#define CREDITS_SETTINGS_INIT CREDITS_INIT_(credits_settings)
#define CREDITS_WECHAT_INIT CREDITS_INIT_(credits_wechat_options)
#define CREDITS_ALIPAY_INIT CREDITS_INIT_(credits_alipay_options)
#define CREDITS_USAGE_INIT CREDITS_INIT_(credits_usage)
#define CREDITS_CONSUME_INIT CREDITS_INIT_(credits_consume_options)
#define CREDITS_CONFIRM_INIT CREDITS_INIT_(credits_confirm_options)
#define CREDITS_REFUND_INIT CREDITS_INIT_(credits_refund_options)
#define CREDITS_GRANT_INIT CREDITS_INIT_(credits_grant_options)
#define CREDITS_GIFT_INIT CREDITS_INIT_(credits_gift_options)
#define CREDITS_ADJUST_INIT CREDITS_INIT_(credits_gift_options)
#define CREDITS_CLAWBACK_INIT CREDITS_INIT_(credits_clawback_options)
#define CREDITS_PAGE_INIT CREDITS_INIT_(credits_page_options)
#define CREDITS_SAVE_PACKAGE_INIT CREDITS_INIT_(credits_save_package_options)
#define CREDITS_CREATE_ORDER_INIT CREDITS_INIT_(credits_create_order_options)
#define CREDITS_PAY_ORDER_INIT CREDITS_INIT_(credits_pay_order_options)
#define CREDITS_SETTLE_ORDER_INIT CREDITS_INIT_(credits_settle_order_options)
#define CREDITS_REFUND_ORDER_INIT CREDITS_INIT_(credits_refund_order_options)
