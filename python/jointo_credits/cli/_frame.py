"""What all commands share: the options, the output, the errors, the progress bar."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
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

    def open(self, channels: str | None = None) -> Ledger:
        """The ledger that the options name. `channels`: where payment channels are made, as ``MODULE:NAME``."""
        if not self.database:
            raise click.UsageError("Say which database: --database URL, or JOINTO_CREDITS_URL in the environment.")
        settings: Settings = {"pgbouncer": self.pgbouncer, "channels": imported(channels) if channels else ()}
        if self.max_clock_skew is not None:
            settings["max_clock_skew"] = self.max_clock_skew
        return Ledger.connect(self.database, schema=self.schema, **settings)

    def show(self, result: Any, text: Callable[[Console], None]) -> None:
        """A result: as JSON, or as `text` writes it."""
        if self.json:
            click.echo(as_json(result))
        else:
            # A terminal wraps by itself, and in a pipe a line is a line.
            text(Console(highlight=False, markup=False, emoji=False, soft_wrap=True))

    def rows(self, rows: Iterable[dict[str, Any]], columns: Sequence[str], result: Any, caption: str = "") -> None:
        """A result that is a table."""
        self.show(result, lambda console: console.print(table(rows, columns, caption, width())))

    def page(self, page: Page[Any], columns: Sequence[str]) -> None:
        """A page of a list."""
        more = f"more: --cursor {page.next_cursor}" if page.next_cursor else ""
        self.rows((item.to_dict() for item in page), columns, page.to_dict(), more)

    def facts(self, facts: dict[str, Any]) -> None:
        """A result that is one thing: its facts, a line each."""

        def lines(console: Console) -> None:
            said = {name.replace("_", " "): value for name, value in facts.items() if value is not None}
            name_width = max(map(len, said), default=0)
            most = width()
            room = None if most is None else most - name_width - 3
            for name, value in said.items():
                several = isinstance(value, (list, tuple))
                parts: list[Any] = list(value) if several else [value]  # pyright: ignore[reportUnknownArgumentType]
                for part in parts:
                    shown = _flowed(_phrases(part), room) if isinstance(part, dict) else [cell(part)]  # pyright: ignore
                    for line in shown:
                        console.print(f" {name:{name_width}}  {line}".rstrip())
                        name = ""

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


def imported(place: str) -> Any:
    """What ``MODULE:NAME`` is: a list of channels, or a function that makes it."""
    module, _, name = place.partition(":")
    if not (module and name):
        raise click.UsageError("--channels takes MODULE:NAME, such as shop.payments:channels")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"--channels {place}: {error}") from None
    return found() if callable(found) else found


def width() -> int | None:
    """How wide a line can be; no limit where nobody looks at a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(rows: Iterable[dict[str, Any]], columns: Sequence[str], caption: str = "", width: int | None = None) -> str:
    """Rows as people read them. No value is ever cut or broken: an id has to be copied whole. Where a row is too wide,
    its last columns stand below it, each with its name."""
    titles = [column.replace("_", " ") for column in columns]
    values = [[row.get(column) for column in columns] for row in rows]
    cells = [[cell(value) for value in row] for row in values]
    widths = [max(map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
    fits = len(widths)
    if width is not None:
        while fits > 1 and sum(widths[:fits]) + 2 * fits > width:
            fits -= 1
    numbers = [all(isinstance(row[n], int) and not isinstance(row[n], bool) for row in values) for n in range(fits)]

    def line(parts: Sequence[str]) -> str:
        padding = [" " * (to - cell_len(part)) for part, to in zip(parts, widths, strict=False)]
        placed = zip(parts, padding, numbers, strict=False)
        return " " + "  ".join(pad + part if number else part + pad for part, pad, number in placed).rstrip()

    made = [line(titles), " " + "  ".join("-" * to for to in widths[:fits])]
    for row in cells:
        made.append(line(row[:fits]))
        below = [f"{title} {part}" for title, part in zip(titles[fits:], row[fits:], strict=True) if part]
        made += ["     " + line for line in _flowed(below, None if width is None else width - 5)]
    return "\n".join([*made, caption] if caption else made)


def _flowed(parts: Sequence[str], width: int | None) -> list[str]:
    """Parts in as few lines as hold them, none of them broken."""
    lines: list[str] = []
    for part in parts:
        if lines and (width is None or cell_len(lines[-1]) + 2 + cell_len(part) <= width):
            lines[-1] += ", " + part
        else:
            lines.append(part)
    return lines


def _phrases(value: dict[Any, Any]) -> list[str]:
    """What a dict says, a phrase for each name."""
    parts = ((printable(str(name)).replace("_", " "), cell(part)) for name, part in value.items())
    return [f"{name} {part}" for name, part in parts if part]


def printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def cell(value: Any) -> str:
    """A value as people read it, in one line."""
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        case dict():
            return ", ".join(_phrases(value))  # pyright: ignore[reportUnknownArgumentType]
        case list() | tuple():
            return "; ".join(map(cell, value))  # pyright: ignore[reportUnknownArgumentType]
        case bool():
            return "yes" if value else "no"
        case _:
            return printable(str(value)).replace("\n", "\u21b5")


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every command has, and every group: they may stand before the command too."""
    options = [
        click.option("--database", metavar="URL",
                     help="sqlite:///FILE or postgresql://user:password@host/database; JOINTO_CREDITS_URL without."),
        click.option("--schema", metavar="NAME", help="PostgreSQL schema; JOINTO_CREDITS_SCHEMA without."),
        click.option("--pgbouncer", is_flag=True, help="A pooler in transaction mode stands before PostgreSQL."),
        click.option("--max-clock-skew", type=float, metavar="SECONDS",
                     help="How far this machine's clock may be from the database's: 300 by default; "
                          "JOINTO_CREDITS_MAX_CLOCK_SKEW without."),
        click.option("--json", is_flag=True, help="Print JSON, for programs."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _chosen(
    database: str | None, schema: str | None, pgbouncer: bool, max_clock_skew: float | None, json: bool
) -> Frame:
    """What is said here, else what was said before the command, else what the environment says."""
    parent = click.get_current_context().parent
    before = parent.obj if parent else None
    if not isinstance(before, Frame):
        before = Frame(
            os.environ.get("JOINTO_CREDITS_URL"), os.environ.get("JOINTO_CREDITS_SCHEMA"), False, False, _skew_set()
        )
    return Frame(
        database if database is not None else before.database,
        schema if schema is not None else before.schema,
        pgbouncer or before.pgbouncer,
        json or before.json,
        max_clock_skew if max_clock_skew is not None else before.max_clock_skew,
    )


def _skew_set() -> float | None:
    """What the environment says of the clocks."""
    said = os.environ.get("JOINTO_CREDITS_MAX_CLOCK_SKEW")
    try:
        return float(said) if said else None
    except ValueError:
        raise click.UsageError(f"JOINTO_CREDITS_MAX_CLOCK_SKEW is a number of seconds, not {said}") from None


def group(name: str, parent: click.Group | None = None, **settings: Any) -> Callable[[Callable[[], None]], click.Group]:
    """A group of commands with the options that all have."""

    def decorate(function: Callable[[], None]) -> click.Group:
        @functools.wraps(function)
        def run(**options: Any) -> None:
            click.get_current_context().obj = _chosen(**options)

        make: Callable[[Callable[..., Any]], click.Group] = click.group(name, **settings)
        made = make(_options(run))
        if parent is not None:
            parent.add_command(made)
        return made

    return decorate


def command(group: click.Group, name: str, **settings: Any) -> Callable[[Callable[..., None]], click.Command]:
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
            frame = _chosen(database, schema, pgbouncer, max_clock_skew, json)
            try:
                function(frame, **arguments)
            except CreditsError as error:
                frame.fail(error.to_dict(), exit_code(error))

        return group.command(name, **settings)(_options(run))

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
