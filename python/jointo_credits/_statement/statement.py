"""A statement, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from os import PathLike
from uuid import UUID

from .._results.accounts import Transaction
from .._results.base import Result
from .._results.statement import FeatureTotal, KindTotal, StatementBalance, StatementTotals
from .._results.vocabulary import Language


@dataclass(frozen=True, slots=True)
class Statement(Result):
    """What an account had, what came and went in ``[since, until)``, and what it had in the end.

    ``opening.total + totals.net == closing.total``. `docs/statements.md` has the rules.
    """

    user_id: UUID
    """The account."""
    since: datetime
    """From this time on."""
    until: datetime
    """Before this time."""
    drawn_up_at: datetime
    """When it was drawn up. Where that is before `until`, there may be more to come."""
    opening: StatementBalance
    """What there was before the first entry."""
    closing: StatementBalance
    """What there was after the last one."""
    effective: StatementBalance | None
    """`closing` with the deadlines counted that had passed by then and are not written down; None where the journal
    goes on after the last entry."""
    totals: StatementTotals
    """What came and went in between."""
    kinds: tuple[KindTotal, ...]
    """The same by what the entries record."""
    features: tuple[FeatureTotal, ...]
    """What was spent, by feature."""
    entries: tuple[Transaction, ...]
    """The entries, oldest first."""

    def to_csv(self, *, language: Language | None = None, bom: bool = False) -> str:
        """The entries as CSV (RFC 4180), oldest first, between a line for the opening and one for the closing balance.
        Times are in UTC.

        Text that a spreadsheet would take for a formula gets a ``'`` in front.

        Args:
            language: For people: headings and kinds in their words. The stable words without.
            bom: Begins with a byte order mark, without which Excel does not know that it is UTF-8.
        """
        from .table import to_csv

        return to_csv(self, language, bom)

    def to_html(
        self,
        *,
        language: Language = "zh",
        timezone: str | tzinfo = "UTC",
        title: str | None = None,
        issuer: str | None = None,
        customer: str | None = None,
    ) -> str:
        """A page to be sent to a customer, made to be printed on A4: one file that loads nothing and runs nothing.

        Args:
            language: ``"zh"`` or ``"en"``.
            timezone: What times are shown in: a name such as ``"Asia/Shanghai"``, or a `tzinfo`.
            title: The page's heading, in place of "Credit statement".
            issuer: Who sends it.
            customer: Whose it is; the account's id stands below.

        Raises:
            ValidationError: There is no such language or time zone.
        """
        from .page import to_html
        from .view import View

        return to_html(View.of(self, language, timezone, title, issuer, customer))

    def to_pdf(
        self,
        *,
        language: Language = "zh",
        timezone: str | tzinfo = "UTC",
        title: str | None = None,
        issuer: str | None = None,
        customer: str | None = None,
        font: str | PathLike[str] | None = None,
    ) -> bytes:
        """The same page as :meth:`to_html` as PDF, with the same arguments and one more. Needs the extra ``[pdf]``.

        Args:
            font: A TrueType font (``.ttf``) to embed. Without one Chinese is shown in the reader's own Chinese font,
                and not at all where it has none.

        Raises:
            ValidationError: There is no such language, time zone or font.
            ModuleNotFoundError: ReportLab is not installed.
        """
        from .document import to_pdf
        from .view import View

        return to_pdf(View.of(self, language, timezone, title, issuer, customer), font)
