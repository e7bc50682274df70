"""A statement as CSV."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import TYPE_CHECKING

from .._plain import rfc3339
from .._results import Language, StatementBalance
from .view import feature_of
from .words import Words, words

if TYPE_CHECKING:
    from .statement import Statement

#: Columns for programs.
COLUMNS = [
    "seq", "created_at", "kind", "change", "held_change", "available", "held", "feature", "reference", "reason",
    "counter_account", "consumption_id", "lot_id",
]  # fmt: skip

#: What makes a formula of a cell, in a spreadsheet of any language.
#: <https://owasp.org/www-community/attacks/CSV_Injection>
_BEGIN_A_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")


def inert(text: str | None) -> str:
    """Text that no spreadsheet takes for a formula."""
    if not text:
        return ""
    # Some take white space off first.
    if text[0] in _BEGIN_A_FORMULA or text.lstrip()[:1] in _BEGIN_A_FORMULA:
        return "'" + text
    return text


def headings(say: Words) -> list[str]:
    """The same for people."""
    return [
        say.number, say.time, say.kind, say.available_change, say.held_change, say.available, say.held, say.feature,
        say.reference, say.reason, say.counter_account, say.consumption, say.lot,
    ]  # fmt: skip


def to_csv(statement: Statement, language: Language | None, bom: bool) -> str:
    """See `Statement.to_csv`."""
    say = None if language is None else words(language)
    file = io.StringIO(newline="")
    table = csv.writer(file)  # its lines end as RFC 4180 wants

    def write_balance(label: str, at: datetime, balance: StatementBalance) -> None:
        table.writerow(["", rfc3339(at), label, "", "", balance.available, balance.held, *[""] * 6])

    table.writerow(COLUMNS if say is None else headings(say))
    write_balance("opening" if say is None else say.opening, statement.since, statement.opening)
    for entry in statement.entries:
        table.writerow(
            [
                entry.seq,
                rfc3339(entry.created_at),
                entry.kind if say is None else say.kinds[entry.kind],
                entry.change,
                entry.held_change,
                entry.available,
                entry.held,
                inert(feature_of(entry)),
                inert(entry.reference),
                inert(entry.reason),
                inert(entry.counter_account),
                entry.consumption_id or "",
                entry.lot_id or "",
            ]
        )
    write_balance("closing" if say is None else say.closing, statement.until, statement.closing)
    return ("\ufeff" if bom else "") + file.getvalue()


__all__ = ["COLUMNS", "headings", "inert", "to_csv"]
