"""What is shown of a statement: text, ready to be laid out. Nothing in here is escaped."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from .._errors import ValidationError
from .._results import FeatureTotal, Language, StatementBalance, Transaction
from .words import Words, words

if TYPE_CHECKING:
    from .statement import Statement

_NAME = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,3}")


def _zone(timezone: str | tzinfo) -> tzinfo:
    if isinstance(timezone, tzinfo):
        return timezone
    if timezone == "UTC":
        return UTC  # also where there is no database of time zones
    try:
        # It may come from a stranger, and names a file: nothing but a name is looked for.
        if not _NAME.fullmatch(timezone):
            raise zoneinfo.ZoneInfoNotFoundError
        return zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError, TypeError, AttributeError):
        problem = "is no time zone that is known here (where none is, install the package tzdata)"
        limit, value = "a name such as Asia/Shanghai", repr(timezone)[:80]
        raise ValidationError(
            f"timezone: {problem} (limit {limit}, got {value})",
            field="timezone",
            problem=problem,
            limit=limit,
            value=value,
        ) from None


@dataclass(frozen=True, slots=True)
class Line:
    """An entry."""

    number: str
    time: str
    kind: str
    #: What it is for, in the caller's words.
    subject: str
    change: str
    held_change: str
    available: str
    held: str


@dataclass(frozen=True, slots=True)
class View:
    """A statement as text."""

    words: Words
    title: str
    issuer: str | None
    #: What it is about: labels and values.
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    #: Label, available, held, total.
    balances: tuple[tuple[str, str, str, str], ...]
    #: Label, amount; the last is the sum of those before.
    changes: tuple[tuple[str, str], ...]
    #: Kind, count, change of available, of held.
    kinds: tuple[tuple[str, str, str, str], ...]
    #: Feature, charges, spent, refunded.
    features: tuple[tuple[str, str, str, str], ...]
    _entries: tuple[Transaction, ...]
    _zone: tzinfo

    @classmethod
    def of(
        cls,
        statement: Statement,
        language: Language,
        timezone: str | tzinfo,
        title: str | None,
        issuer: str | None,
        customer: str | None,
    ) -> View:
        """A statement in a language and a time zone."""
        say, zone = words(language), _zone(timezone)
        since, until = _time(statement.since, zone), _time(statement.until, zone)
        period = say.interval.format(since=since, until=until, zone=timezone)
        facts = [
            (say.issuer, issuer),
            (say.customer, customer),
            (say.account, str(statement.user_id)),
            (say.period, period),
            (say.drawn_up, _time(statement.drawn_up_at, zone)),
        ]
        balances = [_balance(say.opening, statement.opening), _balance(say.closing, statement.closing)]
        notes: list[str] = []
        if statement.effective is not None and statement.effective != statement.closing:
            balances.append(_balance(say.effective, statement.effective))
            notes.append(say.effective_note)
        if statement.drawn_up_at < statement.until:
            notes.append(say.interim)
        totals = statement.totals
        return cls(
            words=say,
            title=title or say.title,
            issuer=issuer,
            facts=tuple((label, value) for label, value in facts if value),
            notes=tuple(notes),
            balances=tuple(balances),
            changes=(
                (say.granted, _signed(totals.granted)),
                (say.taken_back, _signed(-totals.taken_back)),
                (say.spent, _signed(-totals.spent)),
                (say.refunded, _signed(totals.refunded)),
                (say.expired, _signed(-totals.expired)),
                (say.net, _signed(totals.net)),
            ),
            kinds=tuple(
                (say.kinds[each.kind], f"{each.entries:,}", _signed(each.change), _signed(each.held_change))
                for each in statement.kinds
            ),
            features=tuple(_feature(each, say) for each in statement.features),
            _entries=statement.entries,
            _zone=zone,
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing has happened."""
        return not self._entries

    def lines(self) -> Iterator[Line]:
        """The entries, made one by one: there may be very many."""
        features: dict[object, str] = {}
        for entry in self._entries:
            if entry.feature is not None:
                features[entry.consumption_id] = entry.feature
            feature = features.get(entry.consumption_id) or feature_of(entry)
            yield Line(
                number=str(entry.seq),
                time=_time(entry.created_at, self._zone),
                kind=self.words.kinds[entry.kind],
                subject=" · ".join(filter(None, [feature, entry.reference, entry.reason])),
                change=_signed(entry.change),
                held_change=_signed(entry.held_change),
                available=f"{entry.available:,}",
                held=f"{entry.held:,}",
            )


def feature_of(entry: Transaction) -> str | None:
    """What an entry's credits are for, as far as it tells: one that made a hold, or captured it or gave it back."""
    if entry.feature is not None:
        return entry.feature
    account, _, feature = entry.counter_account.partition(".")
    return (feature or None) if account == "earned" else None


def _time(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _signed(credits: int) -> str:
    return f"{credits:+,}" if credits else "0"


def _balance(label: str, balance: StatementBalance) -> tuple[str, str, str, str]:
    return label, f"{balance.available:,}", f"{balance.held:,}", f"{balance.total:,}"


def _feature(of: FeatureTotal, say: Words) -> tuple[str, str, str, str]:
    name = say.no_feature if of.feature is None else of.feature
    return name, f"{of.captures:,}", _signed(-of.spent), _signed(of.refunded)


__all__ = ["Line", "View", "feature_of"]
