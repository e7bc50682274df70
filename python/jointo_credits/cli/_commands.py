"""The commands."""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO, get_args
from uuid import UUID

import click
from rich.console import Console
from rich.text import Text

from .. import __version__
from .._arguments import Late, Overage, Quantity, Shortfall
from .._plain import as_json, rfc3339
from .._proof import check_proof
from .._results import CleanedUp, Kind, Language, Source, Status, Transaction
from .._statement.statement import Statement
from ._bulk import gift_many, import_balances
from ._frame import DOES_NOT_ADD_UP, TIME, UNAVAILABLE, Frame, command, group, printable, table, width

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.version_option(__version__, prog_name="jointo-credits")
@group("jointo-credits", context_settings=CONTEXT)
def commands() -> None:
    """The credit ledger: accounts, prices, orders, audits."""


key = click.option("--idempotency-key", "--key", "idempotency_key", metavar="KEY", help="Makes repeating it safe.")
archived = click.option("--archive", metavar="PLACE", help="Where entries are that have left the database.")
reason = click.option("--reason", metavar="TEXT", help="Why.")
operator = click.option("--operator", metavar="NAME", help="Who.")
shortfall = click.option(
    "--shortfall", type=click.Choice(get_args(Shortfall)), default="forgive", show_default=True,
    help="What about credits that are spent.",
)  # fmt: skip
expires_at = click.option("--expires-at", type=TIME, metavar="TIME", help="When what is left of them expires.")


def quantities(values: tuple[str, ...]) -> Quantity | None:
    """`5`, or `input_tokens=1200` as often as the card meters something."""
    named = dict(value.split("=", 1) for value in values if "=" in value)
    plain = [value for value in values if "=" not in value]
    if len(plain) + bool(named) > 1:
        raise click.UsageError("Give --quantity once as a number, or as NAME=NUMBER for each quantity.")
    return plain[0] if plain else named or None


quantity = click.option(
    "--quantity", multiple=True, metavar="N|NAME=N", help="How much; NAME=N where a card meters several."
)
attribute = click.option("--attribute", multiple=True, metavar="NAME=VALUE", help="What the price goes by.")


def attributes(values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.UsageError(f"--attribute takes NAME=VALUE, not {value}.")
    return dict(value.split("=", 1) for value in values)


# --- the database


@command(commands, "migrate")
def migrate(frame: Frame) -> None:
    """Make the tables, or bring them up to date."""
    with frame.open() as ledger:
        ledger.migrate()
    frame.show({"migrated": True}, lambda console: console.print("The tables are up to date."))


@command(commands, "seed")
def seed(frame: Frame) -> None:
    """Install the packages and rate cards that come with the library, where they are missing."""
    with frame.open() as ledger:
        ledger.seed_catalog()
        packages, cards = ledger.packages(), ledger.pricing()
    count = {"packages": len(packages), "rate_cards": len({card.feature for card in cards})}
    frame.show(count, lambda console: console.print("{packages} packages, {rate_cards} rate cards.".format(**count)))


# --- accounts


@command(commands, "balance")
@click.argument("user_id")
@click.option("--at", type=TIME, metavar="TIME", help="What it was then.")
def balance(frame: Frame, user_id: str, at: datetime | None) -> None:
    """What an account has."""
    with frame.open() as ledger:
        frame.facts(ledger.balance(user_id, at).to_dict())


@command(commands, "transactions")
@click.argument("user_id")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only these.")
@click.option("--since", type=TIME, metavar="TIME", help="From this time on.")
@click.option("--until", type=TIME, metavar="TIME", help="Before this time.")
@click.option("--limit", type=int, default=50, show_default=True, help="How many, up to 1,000.")
@click.option("--cursor", help="The page before's next_cursor.")
@archived
def transactions(frame: Frame, user_id: str, **filters: Any) -> None:
    """A page of an account's journal, newest first."""
    with frame.open() as ledger:
        page = ledger.transactions(user_id, **filters)
    columns = ["seq", "created_at", "kind", "change", "held_change", "available", "held", "reference", "consumption_id"]
    frame.page(page, [*columns, "lot_id", "operator", "reason"])


@command(commands, "consumption")
@click.argument("user_id")
@click.option("--status", type=click.Choice(get_args(Status)), help="Only these.")
@click.option("--limit", type=int, default=50, show_default=True, help="How many, up to 1,000.")
@click.option("--cursor", help="The page before's next_cursor.")
def consumption(frame: Frame, user_id: str, **filters: Any) -> None:
    """A page of an account's consumptions, newest first."""
    with frame.open() as ledger:
        page = ledger.consumption(user_id, **filters)
    columns = ["id", "created_at", "status", "amount", "captured", "reversed", "feature", "reference", "expires_at"]
    frame.page(page, columns)


FIELDS = [
    "seq", "created_at", "kind", "change", "held_change", "available", "held", "counter_account", "consumption_id",
    "lot_id", "feature", "reference", "idempotency_key", "reason", "operator", "hash",
]  # fmt: skip


@command(commands, "export")
@click.argument("user_id")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="--json means jsonl.",
)
@click.option("--output", type=click.Path(dir_okay=False, writable=True), help="A file; standard output without.")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only these.")
@click.option("--since", type=TIME, metavar="TIME", help="From this time on.")
@click.option("--until", type=TIME, metavar="TIME", help="Before this time.")
@archived
def export(frame: Frame, user_id: str, form: str, output: str | None, **filters: Any) -> None:
    """An account's journal, newest first, as CSV or JSON lines."""
    if frame.json:
        form = "jsonl"
    written = 0
    with ExitStack() as stack:
        ledger = stack.enter_context(frame.open())
        entries = ledger.all_transactions(user_id, **filters)
        file = stack.enter_context(open(output, "w", encoding="utf-8", newline="")) if output else sys.stdout
        bar = stack.enter_context(frame.progress())
        task = bar.add_task("entries", total=None)
        for written in _write(entries, form, file):
            bar.update(task, completed=written)
    if output:
        told = {"entries": written, "file": output}
        frame.show(told, lambda console: console.print(f"{written} entries written to {printable(output)}."))


def _write(entries: Iterator[Transaction], form: str, file: TextIO) -> Iterator[int]:
    """Writes them, and counts them meanwhile."""
    table = csv.writer(file)
    if form == "csv":
        table.writerow(FIELDS)
    for written, entry in enumerate(entries, 1):
        facts = entry.to_dict()
        facts["created_at"] = rfc3339(entry.created_at)
        if form == "csv":
            table.writerow(["" if facts[name] is None else facts[name] for name in FIELDS])
        else:
            file.write(as_json(facts) + "\n")
        yield written


@command(commands, "statement")
@click.argument("user_id")
@click.option("--since", type=TIME, metavar="TIME", required=True, help="From this time on.")
@click.option("--until", type=TIME, metavar="TIME", help="Before this time; now without.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "html", "pdf", "json"]),
    default="table",
    show_default=True,
    help="--json means json. pdf needs the extra [pdf].",
)
@click.option("--output", type=click.Path(dir_okay=False, writable=True), help="A file; standard output without.")
@click.option("--language", type=click.Choice(get_args(Language)), help="Of a csv, html or pdf; zh for the last two.")
@click.option("--timezone", default="UTC", show_default=True, metavar="ZONE", help="Of times in a html or pdf.")
@click.option("--title", metavar="TEXT", help="The heading of a html or pdf.")
@click.option("--issuer", metavar="TEXT", help="Who sends it.")
@click.option("--customer", metavar="TEXT", help="Whose it is.")
@click.option("--font", type=click.Path(dir_okay=False), help="A TrueType font to embed into a pdf.")
@click.option("--bom", is_flag=True, help="A csv for Excel: with a byte order mark.")
def statement(
    frame: Frame, user_id: str, since: datetime, until: datetime | None, form: str, output: str | None,
    language: Language | None, font: str | None, bom: bool, **page: Any,
) -> None:  # fmt: skip
    """An account's statement: opening and closing balance, the entries in between, and what they add up to."""
    if frame.json:
        form = "json"
    if form == "pdf" and output is None:
        raise click.UsageError("--format pdf needs --output FILE.")
    if form == "table" and output is not None:
        raise click.UsageError("--output needs --format csv, html, pdf or json.")
    with frame.open() as ledger:
        found = ledger.statement(user_id, since, until or datetime.now(UTC))
    match form:
        case "csv":
            written = found.to_csv(language=language, bom=bom).encode()
        case "html":
            written = found.to_html(language=language or "zh", **page).encode()
        case "pdf":
            try:
                written = found.to_pdf(language=language or "zh", font=font, **page)
            except ModuleNotFoundError as missing:
                if missing.name != "reportlab":
                    raise
                raise click.UsageError(str(missing)) from None
        case "json":
            written = f"{as_json(found.to_dict())}\n".encode()
        case _:
            frame.show(found, lambda console: _show(console, found))
            return
    if output is None:
        click.echo(written, nl=False)
        return
    with open(output, "wb") as file:
        file.write(written)
    told = {"entries": len(found.entries), "file": output}
    frame.show(told, lambda console: console.print(f"{told['entries']} entries written to {printable(output)}."))


def _show(console: Console, found: Statement) -> None:
    """A statement on a terminal."""
    entries = (entry.to_dict() for entry in found.entries)
    columns = ["seq", "created_at", "kind", "change", "held_change", "available", "held", "reference"]
    console.print(table(entries, columns, width=width()) + "\n")
    totals = [{"": name.replace("_", " "), "credits": amount} for name, amount in found.totals.to_dict().items()]
    ends = {"opening": found.opening, "closing": found.closing, "deadlines counted": found.effective}
    balances = [{"": name, **end.to_dict(), "total": end.total} for name, end in ends.items() if end is not None]
    console.print(table(balances, ["", "available", "held", "total"]) + "\n")
    console.print(table([*totals, {"": "net", "credits": found.totals.net}], ["", "credits"]))
    features = [each.to_dict() for each in found.features]
    if features:
        console.print("\n" + table(features, ["feature", "captures", "spent", "refunded"]))


# --- credits in


@command(commands, "grant")
@click.argument("user_id")
@click.argument("amount", type=int)
@click.option("--source", type=click.Choice(get_args(Source)), required=True, help="Where they come from.")
@click.option("--priority", type=int, default=0, help="Lots with a lower one burn first.")
@click.option("--reference", metavar="TEXT", help="A name of yours, such as an order's number.")
@expires_at
@key
def grant(frame: Frame, user_id: str, amount: int, **options: Any) -> None:
    """Grant credits."""
    with frame.open() as ledger:
        frame.facts(ledger.grant(user_id, amount, **options).to_dict())


@command(commands, "gift")
@click.argument("user_id", required=False)
@click.argument("amount", type=int, required=False)
@click.option(
    "--csv",
    "file",
    type=click.Path(exists=True, dir_okay=False, readable=True),
    metavar="FILE",
    help="Many gifts: a CSV with the columns user_id and amount; reason, expires_at and key may be there too.",
)
@click.option(
    "--batch",
    metavar="NAME",
    help="With --csv: a name for this round of gifts. Run again with the same name, what was given is not given again.",
)
@click.option(
    "--workers", type=click.IntRange(1, 256), default=32, show_default=True, help="With --csv: gifts at a time."
)
@reason
@operator
@expires_at
@key
def gift(
    frame: Frame, user_id: str | None, amount: int | None, file: str | None, batch: str | None, workers: int,
    reason: str | None, operator: str | None, expires_at: datetime | None, idempotency_key: str | None,
) -> None:  # fmt: skip
    """Give credits away: to one account, or to all that a file lists."""
    if file is not None:
        if user_id or idempotency_key:
            raise click.UsageError("With --csv, accounts and keys are in the file.")
        gift_many(frame, file, batch, workers, reason, operator, expires_at)
        return
    if user_id is None or amount is None or reason is None:
        raise click.UsageError("Say to whom, how many and why: gift USER_ID AMOUNT --reason TEXT, or --csv FILE.")
    with frame.open() as ledger:
        receipt = ledger.gift(
            user_id, amount, reason=reason, operator=operator, expires_at=expires_at, idempotency_key=idempotency_key
        )
    frame.facts(receipt.to_dict())


@command(commands, "adjust", context_settings={"ignore_unknown_options": True})  # a number below zero is no option
@click.argument("user_id")
@click.argument("amount", type=int)
@click.option("--reason", metavar="TEXT", required=True, help="Why.")
@operator
@key
def adjust(frame: Frame, user_id: str, amount: int, **options: Any) -> None:
    """Correct a balance, up or down: adjust USER_ID -5 --reason TEXT."""
    with frame.open() as ledger:
        frame.facts(ledger.adjust(user_id, amount, **options).to_dict())


@command(commands, "credit-limit")
@click.argument("user_id")
@click.argument("credit_limit", type=int)
@key
def credit_limit(frame: Frame, user_id: str, credit_limit: int, **options: Any) -> None:
    """Set how far below zero consumptions may take a balance; 0 for not at all."""
    with frame.open() as ledger:
        frame.facts(ledger.set_credit_limit(user_id, credit_limit, **options).to_dict())


@command(commands, "clawback")
@click.argument("user_id")
@click.argument("lot_id")
@click.option("--amount", type=int, help="How many of its credits; all without.")
@shortfall
@reason
@operator
@key
def clawback(frame: Frame, user_id: str, lot_id: str, **options: Any) -> None:
    """Take granted credits back. `transactions` shows the lot of each grant."""
    with frame.open() as ledger:
        frame.facts(ledger.clawback(user_id, lot_id, **options).to_dict())


@command(commands, "import-balances")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True))
@click.option("--apply", is_flag=True, help="Do it. Without, the file is only checked and added up.")
@click.option("--expect-total", type=int, metavar="N", help="What all balances must add up to; needed with --apply.")
@click.option("--workers", type=click.IntRange(1, 256), default=32, show_default=True, help="Accounts at a time.")
def import_(frame: Frame, file: str, apply: bool, expect_total: int | None, workers: int) -> None:
    """Bring balances from another system: a CSV with the columns user_id and balance, perhaps expires_at and reference.

    An account may have several lines, such as one for each expiry. A balance of 0 makes nothing. Each account gets its
    opening balance once, however often this runs.
    """
    if apply and expect_total is None:
        raise click.UsageError("--apply needs --expect-total N: run it without --apply first, and compare.")
    import_balances(frame, file, apply, expect_total, workers)


# --- spending


@command(commands, "quote")
@click.argument("feature")
@quantity
@attribute
@click.option("--user-id", help="An account that may have rate cards of its own.")
@click.option("--at", type=TIME, metavar="TIME", help="The price of another time.")
def quote(
    frame: Frame, feature: str, quantity: tuple[str, ...], attribute: tuple[str, ...], user_id: str | None,
    at: datetime | None,
) -> None:  # fmt: skip
    """What a call would cost, line by line. `pricing preview` does it with a card that is not set yet."""
    with frame.open() as ledger:
        price = ledger.calculate(feature, quantities(quantity), attributes(attribute), user_id=user_id, at=at)
    frame.show(price.to_dict(), lambda console: console.print(printable(str(price)), soft_wrap=True))


@command(commands, "consume")
@click.argument("user_id")
@click.argument("feature", required=False)
@quantity
@attribute
@click.option("--amount", type=int, help="Credits to hold, in place of a price.")
@click.option("--ttl", type=float, metavar="SECONDS", help="How long the hold lives.")
@click.option("--reference", metavar="TEXT", help="A name of yours.")
@key
def consume(
    frame: Frame, user_id: str, feature: str | None, quantity: tuple[str, ...], attribute: tuple[str, ...],
    **options: Any,
) -> None:  # fmt: skip
    """Hold credits."""
    with frame.open() as ledger:
        held = ledger.consume(user_id, feature, quantities(quantity), attributes(attribute) or None, **options)
    frame.facts(held.to_dict())


@command(commands, "confirm")
@click.argument("consumption_id")
@quantity
@click.option("--amount", type=int, help="Credits that were used.")
@click.option("--overage", type=click.Choice(get_args(Overage)), default="reject", show_default=True)
@click.option("--late", type=click.Choice(get_args(Late)), default="reject", show_default=True)
@key
def confirm(frame: Frame, consumption_id: str, quantity: tuple[str, ...], **options: Any) -> None:
    """Spend what a hold keeps, or what was really used."""
    with frame.open() as ledger:
        frame.facts(ledger.confirm(consumption_id, quantity=quantities(quantity), **options).to_dict())


@command(commands, "refund")
@click.argument("consumption_id")
@click.option("--amount", type=int, help="How many of a confirmed one's credits; all without.")
@reason
@operator
@key
def refund(frame: Frame, consumption_id: str, **options: Any) -> None:
    """Give credits of a consumption back."""
    with frame.open() as ledger:
        frame.facts(ledger.refund(consumption_id, **options).to_dict())


@command(commands, "explain")
@click.argument("consumption_id")
def explain(frame: Frame, consumption_id: str) -> None:
    """Why a consumption cost what it did, and which lots paid for it."""
    with frame.open() as ledger:
        why = ledger.explain(consumption_id)

    def text(console: Console) -> None:
        use = why.consumption
        console.print(
            f"consumption {use.id}: {use.status}, {use.amount} held, {use.captured} spent, {use.reversed} given back"
        )
        for title, price in (("held", why.held), ("charged", why.charged)):
            if price is not None:
                console.print(f"\n{title}:\n{printable(str(price))}", soft_wrap=True)
        for paid in why.lots:
            console.print(f"{paid.amount} from lot {paid.lot.id} ({paid.lot.source})")
        if use.borrowed:
            console.print(f"{use.borrowed} on credit")

    frame.show(why.to_dict(), text)


# --- upkeep


@command(commands, "expire-pending")
@click.option("--limit", type=int, help="Stop after so many.")
def expire_pending(frame: Frame, limit: int | None) -> None:
    """Write down the holds that have expired."""
    with frame.open() as ledger:
        frame.facts(ledger.expire_pending(limit).to_dict())


@command(commands, "expire")
def expire(frame: Frame) -> None:
    """Write down the holds and the lots that have expired."""
    with frame.open() as ledger, frame.progress() as bar:
        bar.add_task("expiring", total=None)
        holds, lots = ledger.expire_pending(), ledger.expire_lots()
    sums = {name: count + lots.to_dict()[name] for name, count in holds.to_dict().items()}
    frame.facts(sums)


@command(commands, "doctor")
def doctor(frame: Frame) -> None:
    """Look at the database, and say what to put right. Exit code 5 where there is something."""
    with frame.open() as ledger:
        found = ledger.inspect()

    def text(console: Console) -> None:
        skew = "" if found.clock_skew is None else f", clock {found.clock_skew.total_seconds():+.3f} s"
        console.print(f"{found.database}, {found.round_trip.total_seconds() * 1e3:.1f} ms away{skew}")
        console.print(f"jointo_credits {__version__}, Python {sys.version.split()[0]}")
        for problem in found.problems:
            console.print(Text("problem:", style="red"), printable(problem.what), soft_wrap=True)
            console.print(f"    {printable(problem.remedy)}", soft_wrap=True)
        if not found.problems:
            console.print("Everything is as it should be.")

    frame.show({**found.to_dict(), "version": __version__, "python": sys.version.split()[0]}, text)
    if found.problems:
        raise SystemExit(UNAVAILABLE)


@group("cleanup", commands)
def cleanup() -> None:
    """Move old rows into an archive. To be called again after whatever has stopped it."""


def _clean_up(frame: Frame, work: Callable[..., CleanedUp], dry_run: bool, days: int, archive: str) -> None:
    older_than = timedelta(days=days)
    would = work(older_than, archive, dry_run=True)
    done, files = would, list[str]()
    if not dry_run:
        archived = removed = kept = size = 0
        with frame.progress() as bar:
            task = bar.add_task("rows", total=would.archived)
            while True:
                done = work(older_than, archive, limit=CLEANED_AT_ONCE)
                archived, removed = archived + done.archived, removed + done.removed
                kept, size = kept + done.kept, size + done.bytes
                files += done.files
                bar.update(task, completed=archived, total=max(archived, would.archived))
                if not done.more:
                    break
        done = replace(done, archived=archived, removed=removed, kept=kept, bytes=size, files=tuple(files))
    frame.facts({**done.to_dict(), "dry_run": dry_run})


#: Rows between two steps of the progress bar.
CLEANED_AT_ONCE = 50_000

days = click.option("--older-than", "days", type=int, required=True, metavar="DAYS", help="30 at the least.")
place = click.option("--archive", required=True, metavar="PLACE", help="A directory, or s3://bucket/prefix.")
dry_run = click.option("--dry-run", is_flag=True, help="Only count what would leave.")


@command(cleanup, "transactions")
@days
@place
@dry_run
def cleanup_transactions(frame: Frame, **options: Any) -> None:
    """Entries of the journal; checkpoints take their place."""
    with frame.open() as ledger:
        _clean_up(frame, ledger.cleanup_transactions, **options)


@command(cleanup, "consumptions")
@days
@place
@dry_run
def cleanup_consumption_logs(frame: Frame, **options: Any) -> None:
    """Consumptions that are over, and whose entries have left."""
    with frame.open() as ledger:
        _clean_up(frame, ledger.cleanup_consumption_logs, **options)


@command(commands, "archives")
def archives(frame: Frame) -> None:
    """The files of the archive, as the database knows them."""
    with frame.open() as ledger:
        files = [file.to_dict() for file in ledger.archives()]
    frame.rows(files, ["name", "kind", "older_than", "lines", "bytes", "removed_at"], files)


anchor_file = click.option(
    "--anchor", "anchor_file", type=click.File(), metavar="FILE", help="An anchor that was kept."
)
public_key = click.option(
    "--public-key",
    envvar="JOINTO_CREDITS_ANCHOR_PUBLIC_KEY",
    metavar="KEY",
    help="Whose anchors are believed: 64 hexadecimal digits, or a PEM file.",
)
unsigned = click.option("--unsigned", is_flag=True, help="Anchors without a signature.")


def key_text(given: str | None, unsigned: bool) -> str | None:
    """A key as text, or what is in the file of that name. None where it is not to count."""
    if given is None or unsigned:
        return None
    if given.startswith("-----") or re.fullmatch("[0-9a-f]{64}", given):
        return given
    try:
        return Path(given).read_text()
    except OSError as error:
        raise click.UsageError(f"The key {given} is neither a key nor a file that can be read: {error}") from None


@command(commands, "verify")
@archived
@anchor_file
@public_key
@unsigned
def verify(
    frame: Frame, archive: str | None, anchor_file: TextIO | None, public_key: str | None, unsigned: bool
) -> None:
    """Derive everything from the journal again, and name what does not fit. Exit code 6 where something does not.

    With an anchor everything before it has to be what it was, and nothing may be missing.
    """
    anchor = None if anchor_file is None else anchor_file.read()
    key = None if anchor is None else key_text(public_key, unsigned)
    began = time.monotonic()
    with frame.open() as ledger, frame.progress() as bar:
        bar.add_task("auditing", total=None)
        found = ledger.verify(archive, anchor=anchor, public_key=key, unsigned=unsigned)
    seconds = time.monotonic() - began

    def text(console: Console) -> None:
        console.print(
            f"{found.accounts:,} accounts, {found.entries:,} entries, {found.lots:,} lots, {found.holds:,} uses "
            f"in {seconds:.1f} s: {'everything fits' if found.is_clean else f'{found.fault_count:,} faults'}"
        )
        if anchor is not None:
            console.print(f"{found.anchored:,} accounts against the anchor")
            if found.anchored_archived:
                console.print(
                    f"NOT COMPARED: {found.anchored_archived:,} of them, whose anchored entry has left the database. "
                    "Give the archive (--archive), or a younger anchor.",
                    soft_wrap=True,
                )
        for fault in found.faults:
            entry = "" if fault.seq is None else f", entry {fault.seq}"
            what = f"account {fault.user_id}{entry}, {fault.kind}" if fault.user_id.int else fault.kind
            console.print(printable(f"{what}: {fault.detail}"), soft_wrap=True)

    frame.show(found.to_dict(), text)
    if not found.is_clean:
        raise SystemExit(DOES_NOT_ADD_UP)


@command(commands, "anchor")
@click.option(
    "--key",
    envvar="JOINTO_CREDITS_ANCHOR_KEY",
    metavar="FILE",
    help="The private key, PEM: openssl genpkey -algorithm ed25519.",
)
@unsigned
@click.option("--output", type=click.Path(dir_okay=False), metavar="FILE", help="Where to write it: a new file.")
@click.option("--all", "all_accounts", is_flag=True, help="Look at every account, changed or not.")
@click.option("--keep", type=int, metavar="N", help="Remove all but the newest N anchors from the database.")
def anchor(
    frame: Frame, key: str | None, unsigned: bool, output: str | None, all_accounts: bool, keep: int | None
) -> None:
    """Make an anchor: a line over everything in the books.

    Keep it where nobody can change it who can write to the database.
    """
    signing = key_text(key, unsigned)
    with frame.open() as ledger:
        line = ledger.anchor(key=signing, unsigned=unsigned, all_accounts=all_accounts)
        if keep is not None:
            ledger.prune_anchors(keep)
    if output is not None:
        with open(output, "x", encoding="utf-8") as file:
            file.write(line + "\n")
    frame.show(json.loads(line), lambda console: console.print(line, soft_wrap=True, markup=False, highlight=False))


@command(commands, "prove")
@click.argument("user_id", type=click.UUID)
@click.option(
    "--anchor", "anchor_file", type=click.File(), required=True, metavar="FILE", help="An anchor that was kept."
)
@archived
@click.option(
    "--output", type=click.Path(dir_okay=False), required=True, metavar="FILE", help="Where to write the proof."
)
def prove(frame: Frame, user_id: UUID, anchor_file: TextIO, archive: str | None, output: str) -> None:
    """Prove an account's entries to somebody who has only the anchor: check-proof."""
    with frame.open() as ledger:
        proof = ledger.prove(user_id, anchor_file.read(), archive=archive)
    with open(output, "x", encoding="utf-8") as file:
        file.write(proof)
    frame.facts({"user_id": str(user_id), "entries": proof.count("\n") - 1, "file": output})


@command(commands, "check-proof")
@click.argument("proof", type=click.File())
@click.option("--anchor", "anchor_file", type=click.File(), required=True, metavar="FILE", help="The anchor it is for.")
@public_key
@unsigned
def check_a_proof(frame: Frame, proof: TextIO, anchor_file: TextIO, public_key: str | None, unsigned: bool) -> None:
    """Check a proof against an anchor. Needs no database."""
    key = key_text(public_key, unsigned)
    found = check_proof(anchor_file.read(), proof.read(), public_key=key, unsigned=unsigned)
    facts = {
        "user_id": str(found.user_id),
        "first_entry": found.first_seq,
        "last_entry": found.last.seq,
        "entries": found.entries,
        "available": found.last.available,
        "held": found.last.held,
    }
    frame.facts(facts)


@command(commands, "trial-balance")
def trial_balance(frame: Frame) -> None:
    """Sum all accounts and all counter-accounts: together they are zero. Exit code 6 where they are not."""
    with frame.open() as ledger:
        books = ledger.trial_balance()
    rows = [{"account": "available", "sum": books.available}, {"account": "held", "sum": books.held}]
    rows += [{"account": name, "sum": total} for name, total in books.counter_accounts.items()]
    rows.append({"account": "total", "sum": books.total})
    frame.rows(rows, ["account", "sum"], {**books.to_dict(), "total": books.total})
    if not books.is_balanced:
        raise SystemExit(DOES_NOT_ADD_UP)
