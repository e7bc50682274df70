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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO
from uuid import UUID

import click

from .. import CreditsError, Receipt
from ._frame import DOES_NOT_ADD_UP, UNAVAILABLE, Frame, escape

#: How many faults are named.
FAULTS_MAX = 20
CREDITS_MAX = 2**53 - 1


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


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def read(file: TextIO, amount: str, others: Sequence[str], key: Callable[[dict[str, str], int], str]) -> list[Line]:
    """Reads a file whole. `key` makes the key of a line from its cells and how many like it came before."""
    faults = Faults()
    table = csv.DictReader(file)
    columns = list(table.fieldnames or [])
    for needed in ("user_id", amount):
        if needed not in columns:
            faults.add(1, f"there is no column {needed}; there are {', '.join(columns) or 'none'}")
    for column in columns:
        if column not in ("user_id", amount, *others):
            faults.add(1, f"unknown column {column}; known are user_id, {amount}, {', '.join(others)}")
    faults.check()
    lines: list[Line] = []
    seen: Counter[tuple[str, ...]] = Counter()
    for cells in table:
        number = table.line_num
        if None in cells or None in cells.values():
            faults.add(number, "has more or fewer cells than the first line")
            continue
        cells = {name: cell.strip() for name, cell in cells.items()}
        try:
            user_id = UUID(cells["user_id"])
        except ValueError:
            faults.add(number, f"user_id is no UUID: {cells['user_id'][:60]!r}")
            continue
        if not (cells[amount].isascii() and cells[amount].isdigit() and 0 < int(cells[amount]) <= CREDITS_MAX):
            faults.add(number, f"{amount} must be a whole number above 0: {cells[amount][:60]!r}")
            continue
        try:
            expires_at = _time(cells["expires_at"]) if cells.get("expires_at") else None
        except ValueError:
            faults.add(number, f"expires_at is no time such as 2026-12-31T00:00:00Z: {cells['expires_at'][:60]!r}")
            continue
        same = tuple(cells.values())
        seen[same] += 1
        text = cells.get("reason") or cells.get("reference") or None
        lines.append(Line(number, user_id, int(cells[amount]), expires_at, text, key(cells, seen[same])))
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
        message = "\n".join(
            [f"{done} of {len(lines)} lines are done, {total} credits; run it again for the others:", *named]
        )
        error: dict[str, Any] = {"code": failures[0][1].code, "message": message, "done": done, "failed": len(failures)}
        frame.fail(error, UNAVAILABLE)
    return total


def gift_many(
    frame: Frame, file: TextIO, batch: str | None, workers: int, reason: str | None, operator: str | None,
    expires_at: datetime | None,
) -> None:  # fmt: skip
    """Gives what a file lists."""

    def key(cells: dict[str, str], count: int) -> str:
        if cells.get("key"):
            return cells["key"]
        if batch is None:
            raise click.UsageError("name this round of gifts with --batch, or give the file a column key: without, a "
                                   "second run could not tell what was given")  # fmt: skip
        # Of what the line says and not of its place: lines may be added, and the file sorted.
        digest = hashlib.sha256("\x1f".join([*(f"{n}={v}" for n, v in sorted(cells.items())), str(count)]).encode())
        return f"gift:{batch}:{digest.hexdigest()[:32]}"

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


def import_balances(frame: Frame, file: TextIO, apply: bool, expected: int | None, workers: int) -> None:
    """Grants opening balances, each account's once."""
    lines = read(file, "balance", ["expires_at", "reference"], lambda _cells, _count: "opening-balance")
    total = sum(line.amount for line in lines)
    told: dict[str, Any] = {"accounts": len(lines), "credits": total, "applied": False}
    if expected is not None and expected != total:
        message = f"nothing was done: the balances add up to {total}, and {expected} is expected"
        frame.fail({"code": "total", "message": message, "total": total, "expected": expected}, DOES_NOT_ADD_UP)
    if not apply:
        frame.show(
            told,
            lambda console: console.print(
                f"{len(lines):,} accounts, {total:,} credits altogether. Nothing was written; to do it, add "
                f"--apply --expect-total {total}"
            ),
        )
        return
    with frame.open() as ledger:
        booked = run(
            frame, lines, workers, "balances",
            lambda line: ledger.grant(
                line.user_id, line.amount, source="opening", expires_at=line.expires_at, reference=line.text,
                idempotency_key=line.key,
            ),
        )  # fmt: skip
        issued = -ledger.trial_balance().counter_accounts.get("issued.opening", 0)
    told |= {"applied": True, "credits": booked, "opening_balances_in_the_books": issued}
    if booked != total or issued < total:
        message = f"the file has {total} credits, the receipts {booked}, and the books {issued} of opening balances"
        frame.fail({"code": "total", "message": escape(message), **told}, DOES_NOT_ADD_UP)
    frame.facts(told)
