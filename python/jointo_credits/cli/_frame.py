"""What all commands share: the options, the output, the errors, the progress bar."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .. import CreditsError, Ledger, NotFoundError, Page, UnavailableError, ValidationError
from .._arguments import Settings
from .._plain import as_json

WRONG_ARGUMENTS, REFUSED, NOT_FOUND, UNAVAILABLE, DOES_NOT_ADD_UP = 2, 3, 4, 5, 6

# Progress and tables' decoration must not mix with what a program reads.
_errors = Console(stderr=True, highlight=False, markup=False, emoji=False)


def exit_code(error: CreditsError) -> int:
    """The exit code for an error of the ledger."""
    match error:
        case ValidationError():
            return WRONG_ARGUMENTS
        case NotFoundError():
            return NOT_FOUND
        case UnavailableError():
            return UNAVAILABLE
        case _:
            return REFUSED


@dataclass
class Frame:
    """How a command reaches the ledger, and how it says what came of it."""

    database: str | None
    schema: str | None
    pgbouncer: bool
    json: bool
    max_clock_skew: float | None = None

    def open(self) -> Ledger:
        """The ledger that the options name."""
        if not self.database:
            raise click.UsageError("Say which database: --database URL, or JOINTO_CREDITS_URL in the environment.")
        settings: Settings = {"pgbouncer": self.pgbouncer}
        if self.max_clock_skew is not None:
            settings["max_clock_skew"] = self.max_clock_skew
        return Ledger.connect(self.database, schema=self.schema, **settings)

    def show(self, result: Any, text: Callable[[Console], None]) -> None:
        """A result: as JSON, or as `text` writes it."""
        if self.json:
            click.echo(as_json(result))
        else:
            text(Console(highlight=False, markup=False, emoji=False))

    def rows(self, rows: Iterable[dict[str, Any]], columns: Sequence[str], result: Any, caption: str = "") -> None:
        """A result that is a table."""
        self.show(result, lambda console: console.print(table(rows, columns, caption)))

    def page(self, page: Page[Any], columns: Sequence[str]) -> None:
        """A page of a list."""
        more = f"more: --cursor {page.next_cursor}" if page.next_cursor else ""
        self.rows((item.to_dict() for item in page), columns, page.to_dict(), more)

    def facts(self, facts: dict[str, Any]) -> None:
        """A result that is one thing: its facts, a line each."""

        def lines(console: Console) -> None:
            table = Table(show_header=False, box=None)
            for name, value in facts.items():
                table.add_row(name.replace("_", " "), Text(cell(value)))
            console.print(table)

        self.show(facts, lines)

    def progress(self) -> Progress:
        """A progress bar on standard error; none where that is no terminal, or JSON is wanted."""
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=_errors,
            disable=self.json or not sys.stderr.isatty(),
        )

    def fail(self, error: dict[str, Any], code: int) -> NoReturn:
        """Says what is wrong, and ends."""
        if self.json:
            click.echo(as_json({"error": error}), err=True)
        else:
            _errors.print(Text("error:", style="red"), printable(str(error["message"])), soft_wrap=True)
        raise SystemExit(code)


def table(rows: Iterable[dict[str, Any]], columns: Sequence[str], caption: str = "") -> Table:
    """Rows as people read them."""
    made = Table(caption=caption or None)
    for column in columns:
        made.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell(row.get(column))) for column in columns))
    return made


def printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def cell(value: Any) -> str:
    """A value as people read it."""
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        case dict() | list() | tuple():
            return printable(as_json(value))
        case bool():
            return "yes" if value else "no"
        case _:
            return printable(str(value))


def command(group: click.Group, name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command with the options that all have; its first argument is the :class:`Frame`."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(
            database: str | None,
            schema: str | None,
            pgbouncer: bool,
            max_clock_skew: float | None,
            json: bool,
            **arguments: Any,
        ) -> None:
            frame = Frame(database, schema, pgbouncer, json, max_clock_skew)
            try:
                function(frame, **arguments)
            except CreditsError as error:
                frame.fail(error.to_dict(), exit_code(error))

        options = [
            click.option("--database", metavar="URL", envvar="JOINTO_CREDITS_URL", show_envvar=True,
                         help="sqlite:///FILE or postgresql://user:password@host/database"),
            click.option("--schema", metavar="NAME", envvar="JOINTO_CREDITS_SCHEMA", help="PostgreSQL schema."),
            click.option("--pgbouncer", is_flag=True, help="A pooler in transaction mode stands before PostgreSQL."),
            click.option("--max-clock-skew", type=float, metavar="SECONDS", envvar="JOINTO_CREDITS_MAX_CLOCK_SKEW",
                         help="How far this machine's clock may be from the database's: 300 by default."),
            click.option("--json", is_flag=True, help="Print JSON, for programs."),
        ]  # fmt: skip
        for option in reversed(options):
            run = option(run)
        return group.command(name)(run)

    return decorate


def parse_time(text: str) -> datetime:
    """ISO 8601, in UTC where it names no zone; a `ValueError` where it is none."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class Time(click.ParamType[datetime]):
    """A time, as :func:`parse_time` reads it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return parse_time(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-11-22 or 2026-11-22T08:00:00Z", param, ctx)


TIME = Time()
