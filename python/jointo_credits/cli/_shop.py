"""The commands about what is sold: orders, packages, rate cards."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, TextIO, get_args

import click

from .. import Ledger, Package
from .._results import Order, OrderStatus
from ._commands import attribute, attributes, commands, key, operator, quantities, quantity, reason, shortfall
from ._frame import NOT_FOUND, TIME, UNAVAILABLE, Frame, command, group, printable

__all__ = ["commands"]

#: As long as the longest rate card, and more.
CARD_CHARS_MAX = 1024 * 1024

channels = click.option(
    "--channels", metavar="MODULE:NAME", envvar="JOINTO_CREDITS_CHANNELS", show_envvar=True,
    help="Where your program makes its payment channels: a list of WeChatPay(...) and Alipay(...), or a function that "
    "makes it. Orders that were paid by hand need none.",
)  # fmt: skip


# --- orders


@group("orders", commands)
def orders() -> None:
    """Orders: what was bought, paid, and sent back."""


def _order(frame: Frame, order: Order) -> None:
    frame.facts(order.to_dict())


@command(orders, "list")
@click.option("--user-id", help="Only this account's.")
@click.option("--status", type=click.Choice(get_args(OrderStatus)), help="Only these.")
@click.option("--limit", type=int, default=50, show_default=True, help="How many, up to 1,000.")
@click.option("--cursor", help="The page before's next_cursor.")
def list_orders(frame: Frame, **filters: Any) -> None:
    """A page of orders, newest first."""
    with frame.open() as ledger:
        page = ledger.orders(**filters)
    columns = ["order_no", "created_at", "status", "price", "currency", "user_id", "channel", "subject"]
    frame.page(page, [*columns, "refunded", "transaction_id"])


@command(orders, "show")
@click.argument("order_no")
def show_order(frame: Frame, order_no: str) -> None:
    """One order, with its refunds."""
    with frame.open() as ledger:
        _order(frame, ledger.order(order_no))


@command(orders, "create")
@click.argument("user_id")
@click.argument("package_id")
@click.option("--channel", default="manual", show_default=True, help="Through which it will be paid.")
@channels
@key
def create_order(
    frame: Frame, user_id: str, package_id: str, channel: str, channels: str | None, **options: Any
) -> None:
    """Write down that somebody buys a package."""
    with frame.open(channels) as ledger:
        _order(frame, ledger.create_order(user_id, package_id, channel, **options))


@command(orders, "settle")
@click.argument("order_no")
@click.option("--transaction-id", required=True, metavar="TEXT", help="What names the payment.")
@click.option("--amount", required=True, metavar="MONEY", help="What was paid, such as 9.90: the order's price.")
@click.option("--currency", default="CNY", show_default=True)
@click.option("--paid-at", type=TIME, metavar="TIME", help="When.")
@channels
def settle_order(frame: Frame, order_no: str, channels: str | None, **options: Any) -> None:
    """Settle an order whose money you have seen. Safe to repeat."""
    with frame.open(channels) as ledger:
        _order(frame, ledger.settle_order(order_no, **options))


@command(orders, "close")
@click.argument("order_no")
@channels
def close_order(frame: Frame, order_no: str, channels: str | None) -> None:
    """Make sure that nobody can pay an order any more. Safe to repeat."""
    with frame.open(channels) as ledger:
        _order(frame, ledger.close_order(order_no))


@command(orders, "refund")
@click.argument("order_no")
@click.option("--amount", metavar="MONEY", help="How much, such as 4.95; all that has not gone back yet without.")
@shortfall
@reason
@operator
@channels
@key
def refund_order(frame: Frame, order_no: str, channels: str | None, **options: Any) -> None:
    """Send money of an order back, and take back the credits that it bought."""
    with frame.open(channels) as ledger:
        _order(frame, ledger.refund_order(order_no, **options))


@command(orders, "reconcile")
@click.option("--min-age", type=float, default=60, show_default=True, metavar="SECONDS", help="Younger ones wait.")
@channels
def reconcile_orders(frame: Frame, min_age: float, channels: str | None) -> None:
    """Ask the channels about every order that waits. Exit code 5 where something went wrong about one."""
    with frame.open(channels) as ledger, frame.progress() as bar:
        bar.add_task("asking", total=None)
        done = ledger.reconcile_orders(min_age)
    problems = [{"order_no": each.order_no, "error": each.error.to_dict()} for each in done.problems]
    people = [f"{each.order_no}: {each.error}" for each in done.problems]
    frame.facts({**done.to_dict(), "problems": problems if frame.json else people})
    if done.failed:
        raise SystemExit(UNAVAILABLE)


# --- packages


@group("packages", commands)
def packages() -> None:
    """Packages: what can be bought."""


@command(packages, "list")
def list_packages(frame: Frame) -> None:
    """All packages, in the order in which a shop shows them."""
    with frame.open() as ledger:
        rows = [package.to_dict() for package in ledger.packages()]
    columns = ["id", "price", "currency", "credits", "bonus_credits", "active", "name", "validity_days"]
    frame.rows(rows, [*columns, "purchase_limit", "recommended", "sort_order", "version"], rows)


@command(packages, "show")
@click.argument("package_id")
@click.option("--versions", is_flag=True, help="Every version, oldest first.")
def show_package(frame: Frame, package_id: str, versions: bool) -> None:
    """One package."""
    with frame.open() as ledger:
        if not versions:
            frame.facts(ledger.package(package_id).to_dict())
            return
        rows = [package.to_dict() for package in ledger.package_versions(package_id)]
    columns = ["version", "updated_at", "price", "currency", "credits", "bonus_credits", "active", "name"]
    frame.rows(rows, [*columns, "validity_days", "purchase_limit", "recommended", "sort_order"], rows)


class Count(click.ParamType["int | str"]):
    """A whole number, or `none`."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == NONE:
            return NONE
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is no whole number, and not `none`", param, ctx)


NONE = "none"


@command(packages, "save")
@click.option("--id", "package_id", metavar="ID", help="Change this one: what is not said stays. A new one without.")
@click.option("--name", metavar="TEXT")
@click.option("--price", metavar="MONEY", help="Such as 9.90.")
@click.option("--credits", type=int, metavar="N")
@click.option("--bonus-credits", type=int, metavar="N", help="Credits on top.")
@click.option("--description", metavar="TEXT")
@click.option("--currency", metavar="CODE", help="CNY for a new one.")
@click.option("--validity-days", type=Count(), metavar="N", help="How long the credits live; `none` for ever.")
@click.option("--purchase-limit", type=Count(), metavar="N", help="How often one account can buy it; `none` for any.")
@click.option("--sort-order", type=int, metavar="N", help="Lower stands first.")
@click.option("--recommended/--not-recommended", default=None)
@click.option("--active/--inactive", default=None, help="Whether it can be bought.")
def save_package(frame: Frame, package_id: str | None, **given: Any) -> None:
    """Save a package. Every version is kept; where nothing changes, none is added."""
    said: dict[str, Any] = {
        name: None if value == NONE else value for name, value in given.items() if value is not None
    }
    with frame.open() as ledger:
        if package_id is not None:
            said = {**_fields(ledger.package(package_id)), **said}
        missing = [f"--{name}" for name in ("name", "price", "credits") if name not in said]
        if missing:
            raise click.UsageError(f"A new package needs {', '.join(missing)}; --id ID changes one that is there.")
        frame.facts(ledger.save_package(package_id=package_id, **said).to_dict())


def _fields(package: Package) -> dict[str, Any]:
    """What can be said about a package."""
    facts = package.to_dict()
    for name in ("id", "version", "created_at", "updated_at"):
        del facts[name]
    return facts


# --- rate cards


@group("pricing", commands)
def pricing() -> None:
    """Rate cards: what features cost."""


COLUMNS = ["feature", "version", "effective_from", "effective_until", "name", "user_id", "id"]


@command(pricing, "list")
@click.argument("feature", required=False)
def list_pricing(frame: Frame, feature: str | None) -> None:
    """Every version of a feature's rate card, or of all features'."""
    with frame.open() as ledger:
        rows = [version.to_dict() for version in ledger.pricing(feature)]
    frame.rows(rows, COLUMNS, rows)


@command(pricing, "show")
@click.argument("feature")
@click.option("--version", type=int, help="The newest without.")
def show_pricing(frame: Frame, feature: str, version: int | None) -> None:
    """A rate card, as JSON: change it, and `pricing set` it."""
    with frame.open() as ledger:
        found = [each for each in ledger.pricing(feature) if version in (None, each.version)]
    if not found:
        which = "rate card" if version is None else f"version {version} of a rate card"
        frame.fail({"code": "not_found", "message": f"no {which} for {printable(feature)}"}, NOT_FOUND)
    card = json.dumps(found[-1].card, ensure_ascii=False, indent=2)
    frame.show(found[-1].to_dict(), lambda console: console.print(printable(card)))


card_file = click.argument("file", type=click.File("r", encoding="utf-8"))


def _card(file: TextIO) -> str:
    try:
        text = file.read(CARD_CHARS_MAX + 1)
    except UnicodeDecodeError:
        raise click.UsageError("the file is not UTF-8") from None
    if len(text) > CARD_CHARS_MAX:
        raise click.UsageError("the file is too long for a rate card")
    return text


@command(pricing, "set")
@card_file
@click.option("--user-id", help="The account it is for; everybody without.")
@click.option("--from", "effective_from", type=TIME, metavar="TIME", help="From when it counts; now without.")
@click.option("--until", "effective_until", type=TIME, metavar="TIME", help="Until when.")
def set_pricing(
    frame: Frame, file: TextIO, user_id: str | None, effective_from: datetime | None, effective_until: datetime | None
) -> None:
    """Add a version of a feature's rate card: a FILE of JSON, or `-`. Setting the one that is in force adds nothing."""
    card = _card(file)
    with frame.open() as ledger:
        added = ledger.set_pricing(
            card, user_id=user_id, effective_from=effective_from, effective_until=effective_until
        ).to_dict()
    frame.show(added, lambda _console: frame.facts({name: added[name] for name in COLUMNS}))


@command(pricing, "retire")
@click.argument("feature")
@click.option("--user-id", help="Only for this account.")
@click.option("--from", "effective_from", type=TIME, metavar="TIME", help="From when; now without.")
def retire_pricing(frame: Frame, feature: str, user_id: str | None, effective_from: datetime | None) -> None:
    """End a feature's price: from then on it can't be used. A later `pricing set` sells it again."""
    with frame.open() as ledger:
        versions = ledger.pricing(feature)
        if not versions:
            frame.fail({"code": "not_found", "message": f"no rate card for {printable(feature)}"}, NOT_FOUND)
        card = {"feature": feature, "name": versions[-1].name, "retired": True}
        added = ledger.set_pricing(card, user_id=user_id, effective_from=effective_from).to_dict()
    frame.show(added, lambda _console: frame.facts({name: added[name] for name in COLUMNS}))


@command(pricing, "preview")
@card_file
@quantity
@attribute
def preview_pricing(frame: Frame, file: TextIO, quantity: tuple[str, ...], attribute: tuple[str, ...]) -> None:
    """What a call would cost by the rate card in FILE, line by line. Sets nothing, and needs no database."""
    card = _card(file)
    with Ledger.connect("memory:") as ledger:
        ledger.migrate()
        feature = ledger.set_pricing(card).feature
        price = ledger.calculate(feature, quantities(quantity), attributes(attribute))
    frame.show(price.to_dict(), lambda console: console.print(printable(str(price))))
