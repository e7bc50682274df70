"""Many accounts from a file: gifts, and balances of another system.

Rules:

- The whole file is checked before anything is written; every fault is named with its line.
- Every line has an idempotency key, so a run that was cut off is run again: what was done is not done again.
- What was done is counted, and compared with the file.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click

from .. import CreditsError, Receipt, UnavailableError
from ._frame import DOES_NOT_ADD_UP, REFUSED, UNAVAILABLE, Frame, parse_time, printable

#: How many faults are named.
FAULTS_MAX = 20
CREDITS_MAX = 2**53 - 1
TEXT_BYTES_MAX = 255
TIME_MAX = datetime(9999, 12, 30, tzinfo=UTC)
#: A file has an end, and so has a line: a pipe or a device may have none.
LINES_MAX = 1_000_000
LINE_CHARS_MAX = 64 * 1024


@dataclass(frozen=True)
class Line:
    """A line of the file."""

    number: int
    user_id: UUID
    amount: int
    expires_at: datetime | None
    text: str | None
    key: str


class Faults:
    """What is wrong with a file."""

    def __init__(self) -> None:
        self._faults: list[str] = []

    def add(self, line: int, fault: str) -> None:
        self._faults.append(f"line {line}: {fault}")

    def check(self) -> None:
        if self._faults:
            rest = len(self._faults) - FAULTS_MAX
            more = [f"and {rest} more"] if rest > 0 else []
            raise click.UsageError("\n".join(["nothing was done:", *self._faults[:FAULTS_MAX], *more]))


@dataclass(frozen=True)
class Cells:
    """What a line says, read: two ways of writing the same are the same."""

    user_id: UUID
    amount: int
    expires_at: datetime | None
    text: str | None
    key: str | None


def _rows(file: str) -> Iterator[tuple[int, list[str]]]:
    """Line by line: no cell of ours has a line break, and so a quote that is missing is found where it is missing."""
    number = 0
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            while line := text.readline(LINE_CHARS_MAX + 1):
                number += 1
                if len(line) > LINE_CHARS_MAX:
                    raise click.UsageError(f"line {number}: is longer than {LINE_CHARS_MAX:,} characters")
                if number > LINES_MAX:
                    raise click.UsageError(f"the file has more than {LINES_MAX:,} lines: split it")
                rows = list(csv.reader([line], strict=True))
                if any(rows):
                    yield number, rows[0]
    except UnicodeDecodeError:
        raise click.UsageError(f"line {number + 1}: is not UTF-8: save the file as `CSV UTF-8`") from None
    except csv.Error as error:
        raise click.UsageError(
            f"line {number}: is no CSV: a quote is missing, or a cell has a line break ({error})"
        ) from None


def _cells(row: dict[str, str], amount: str, least: int) -> Cells:
    """Reads a line; a `ValueError` says what is wrong with it."""
    try:
        user_id = UUID(row["user_id"])
    except ValueError:
        raise ValueError(f"user_id is no UUID: {row['user_id'][:60]!r}") from None
    digits = row[amount]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 16 and least <= int(digits) <= CREDITS_MAX):
        raise ValueError(f"{amount} must be a whole number from {least} to 2^53-1: {digits[:60]!r}")
    expires_at = None
    if row.get("expires_at"):
        try:
            expires_at = parse_time(row["expires_at"]).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError(f"expires_at is no time such as 2026-12-31: {row['expires_at'][:60]!r}") from None
        if not datetime.now(UTC) < expires_at <= TIME_MAX:
            raise ValueError(f"expires_at must lie ahead, before the year 9999: {row['expires_at']}")
    text = row.get("reason") or row.get("reference") or None
    if text is not None and len(text.encode()) > TEXT_BYTES_MAX:
        raise ValueError(f"has a text of more than {TEXT_BYTES_MAX} bytes")
    key = row.get("key") or None
    if key is not None and len(key.encode()) > TEXT_BYTES_MAX:
        raise ValueError(f"has a key of more than {TEXT_BYTES_MAX} bytes")
    return Cells(user_id, int(digits), expires_at, text, key)


def read(file: str, amount: str, others: Sequence[str], key: Callable[[Cells, int], str], least: int = 1) -> list[Line]:
    """Reads a file whole. `key` makes the key of a line from its cells and how many like it came before."""
    faults = Faults()
    rows = _rows(file)
    nothing: tuple[int, list[str]] = (1, [])
    columns = [column.strip() for column in next(rows, nothing)[1]]
    for needed in ("user_id", amount):
        if needed not in columns:
            faults.add(1, f"there is no column {needed}; there are {', '.join(columns) or 'none'}")
    for column in columns:
        if column not in ("user_id", amount, *others):
            faults.add(1, f"unknown column {column}; known are user_id, {amount}, {', '.join(others)}")
    for column, count in Counter(columns).items():
        if count > 1:
            faults.add(1, f"the column {column} is there {count} times")
    faults.check()
    lines: list[Line] = []
    seen: Counter[Cells] = Counter()
    for number, row in rows:
        if len(row) != len(columns):
            faults.add(number, "has more or fewer cells than the first line")
            continue
        try:
            cells = _cells({name: cell.strip() for name, cell in zip(columns, row, strict=True)}, amount, least)
        except ValueError as fault:
            faults.add(number, str(fault))
            continue
        seen[cells] += 1
        lines.append(Line(number, cells.user_id, cells.amount, cells.expires_at, cells.text, key(cells, seen[cells])))
    keys = Counter((line.user_id, line.key) for line in lines)
    for line in lines:
        if keys[line.user_id, line.key] > 1:
            faults.add(line.number, f"account {line.user_id} stands in the file twice with the same key")
    faults.check()
    if not lines:
        raise click.UsageError("the file lists nobody")
    return lines


def run(frame: Frame, lines: list[Line], workers: int, title: str, one: Callable[[Line], Receipt]) -> int:
    """Does every line, and gives the sum of what the receipts say. Where a line fails, the others are done."""
    failures: list[tuple[Line, CreditsError]] = []
    total = 0

    def attempt(line: Line) -> Receipt | CreditsError:
        try:
            return one(line)
        except CreditsError as error:
            return error

    with frame.progress() as bar, ThreadPoolExecutor(workers) as pool:
        task = bar.add_task(title, total=len(lines))
        for line, outcome in zip(lines, pool.map(attempt, lines), strict=True):
            if isinstance(outcome, CreditsError):
                failures.append((line, outcome))
            else:
                total += outcome.amount
            bar.advance(task)
    if failures:
        named = [f"line {line.number}: {error}" for line, error in failures[:FAULTS_MAX]]
        if len(failures) > FAULTS_MAX:
            named.append(f"and {len(failures) - FAULTS_MAX} more")
        done = len(lines) - len(failures)
        message = "\n".join([f"{done} of {len(lines)} lines are done, {total} credits. What failed:", *named])
        error: dict[str, Any] = {"code": failures[0][1].code, "message": message, "done": done, "failed": len(failures)}
        refused = not any(isinstance(failure, UnavailableError) for _, failure in failures)
        frame.fail(error, REFUSED if refused else UNAVAILABLE)
    return total


def gift_many(
    frame: Frame, file: str, batch: str | None, workers: int, reason: str | None, operator: str | None,
    expires_at: datetime | None,
) -> None:  # fmt: skip
    """Gives what a file lists."""

    if batch is not None and not 0 < len(batch.encode()) <= 200:
        raise click.UsageError("--batch takes a name of up to 200 bytes")

    def key(cells: Cells, count: int) -> str:
        if cells.key:
            return cells.key
        if batch is None:
            raise click.UsageError(
                "name this round of gifts with --batch, or give every line a key: without, a second run could not "
                "tell what was given"
            )
        # Of what the line says and not of its place or its spelling: lines may be added, and the file saved anew.
        at = cells.expires_at.isoformat() if cells.expires_at else ""
        parts = [str(cells.user_id), str(cells.amount), at, cells.text or "", str(count)]
        return f"gift:{batch}:{hashlib.sha256(chr(31).join(parts).encode()).hexdigest()[:32]}"

    lines = read(file, "amount", ["reason", "expires_at", "key"], key)
    if reason is None and any(line.text is None for line in lines):
        raise click.UsageError("say why: --reason TEXT, or a column reason with a text in every line")
    with frame.open() as ledger:
        total = run(
            frame, lines, workers, "gifts",
            lambda line: ledger.gift(
                line.user_id, line.amount, reason=line.text or reason or "", operator=operator,
                expires_at=line.expires_at or expires_at, idempotency_key=line.key,
            ),
        )  # fmt: skip
    told = {"gifts": len(lines), "accounts": len({line.user_id for line in lines}), "credits": total}
    frame.facts(told)


def _opening_lots(lines: list[Line]) -> list[Line]:
    """The lines that have something, each with the key of its place among its account's, in the order in which they
    expire: so a file in another order has the same keys, and one that says something else is refused."""
    lots: list[Line] = []
    places: Counter[UUID] = Counter()
    for line in sorted(lines, key=lambda line: (line.expires_at or TIME_MAX, line.text or "", line.amount, line.key)):
        if line.amount > 0:
            places[line.user_id] += 1
            place = places[line.user_id]
            lots.append(replace(line, key="opening-balance" if place == 1 else f"opening-balance:{place}"))
    return sorted(lots, key=lambda line: line.number)


def import_balances(frame: Frame, file: str, apply: bool, expected: int | None, workers: int) -> None:
    """Grants opening balances, each account's once."""
    lines = read(file, "balance", ["expires_at", "reference"], lambda cells, count: f"{cells} {count}", least=0)
    accounts = len({line.user_id for line in lines})
    lots = _opening_lots(lines)
    total = sum(line.amount for line in lots)
    told: dict[str, Any] = {"accounts": accounts, "lots": len(lots), "credits": total, "applied": False}
    if expected is not None and expected != total:
        message = f"nothing was done: the balances add up to {total}, and {expected} is expected"
        frame.fail({"code": "total", "message": message, "total": total, "expected": expected}, DOES_NOT_ADD_UP)
    if not apply:
        frame.show(
            told,
            lambda console: console.print(
                f"{accounts:,} accounts, {len(lots):,} lots, {total:,} credits altogether. Nothing was written; "
                f"to do it, add --apply --expect-total {total}"
            ),
        )
        return
    with frame.open() as ledger:
        booked = run(
            frame, lots, workers, "balances",
            lambda line: ledger.grant(
                line.user_id, line.amount, source="opening", expires_at=line.expires_at, reference=line.text,
                idempotency_key=line.key,
            ),
        )  # fmt: skip
        issued = -ledger.trial_balance().counter_accounts.get("issued.opening", 0)
    told |= {"applied": True, "credits": booked, "opening_balances_in_the_books": issued}
    if booked != total or issued < total:
        message = f"the file has {total} credits, the receipts {booked}, and the books {issued} of opening balances"
        frame.fail({"code": "total", "message": printable(message), **told}, DOES_NOT_ADD_UP)
    frame.facts(told)
